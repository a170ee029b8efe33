"""The links within built pages; run as a module it checks a folder of them: ``python -m tests.support.links HTML``."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["broken_links"]


class _Page(HTMLParser):
    """The places of one page, and the addresses that it names."""

    def __init__(self, text):
        super().__init__()
        self.places, self.addresses = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id" or (tag, name) == ("a", "name"):
                self.places.add(value)
            elif name in ("href", "src") and value:
                self.addresses.append(value)


def broken_links(folder):
    """Return (page, address) of each link within ``folder`` that leads nowhere, and the number of all links."""
    root = Path(folder).resolve()
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in root.rglob("*.html")}
    broken, count = [], 0
    for path, page in pages.items():
        for address in page.addresses:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            count += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            lost = parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places
            if not target.exists() or not target.is_relative_to(root) or lost:
                broken.append((str(path.relative_to(root)), address))
    return broken, count


def main(folder):
    """Print the broken links and return the exit code."""
    broken, count = broken_links(folder)
    for page, address in broken:
        print(f"{page}: {address} leads nowhere")
    print(f"{len(broken)} of {count} links within the pages are broken")
    return 1 if broken or not count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
