"""Links of built pages: what leads nowhere is found."""

import pytest

from tests.support.links import broken_links, main

PAGES = {
    "index.html": '<h1 id="top">x</h1><a href="sub/page.html#a%20place">y</a><a href="#top">z</a>'
    '<a href="https://example.org/none">w</a><img src="image.png">',
    "sub/page.html": '<a name="a place"></a><a href="../index.html">up</a>',
    "image.png": "",
}


@pytest.fixture
def pages(tmp_path):
    (tmp_path / "sub").mkdir()
    for name, text in PAGES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_links_that_lead_somewhere_are_counted(pages, capsys):
    assert broken_links(pages) == ([], 4)
    assert main(pages) == 0
    assert capsys.readouterr().out == "0 of 4 links within the pages are broken\n"


@pytest.mark.parametrize("address", ["none.html", "index.html#none", "#none", "sub/../../up.html", "sub/none/"])
def test_links_that_lead_nowhere_are_named(address, pages, capsys):
    (pages.parent / "up.html").touch()
    (pages / "other.html").write_text(f'<a href="{address}">x</a>')
    assert broken_links(pages) == ([("other.html", address)], 5)
    assert main(pages) == 1
    assert capsys.readouterr().out.startswith(f"other.html: {address} leads nowhere\n")


def test_a_folder_without_pages_does_not_pass(tmp_path):
    assert main(tmp_path) == 1
