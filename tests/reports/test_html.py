from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import torch

from bayeshnet.reports import Cell, Column, FigureData, RunResult, Table, report_html, write_report
from tests.reports.test_records import record

VOID = {"meta", "img"}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.links, self.text, self.cells = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(attributes)
        self.links += [value for key, value in attributes.items() if key in ("href", "src") and tag != "img"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if "td" in self.open and data.strip():
            self.cells.append(data.strip())


def test_a_page_is_well_formed_and_needs_nothing_else():
    table = Table("A <b> & c", (Column("m"), Column("x", "%")), (("<script>", Cell(1.5, best=True)),), "a < b")
    text = report_html("T & U", [table], [("matrix", 'a "caption"', b"\x89PNG")], about="about", config="a: <1>")
    page = Page(text)
    assert page.open == []
    assert page.links == []
    assert "http" not in text
    assert page.cells == ["<script>", "1.5"]
    assert page.images[0]["alt"] == 'a "caption"'
    assert base64.b64decode(page.images[0]["src"].removeprefix("data:image/png;base64,")) == b"\x89PNG"
    assert "a: <1>" in page.text
    assert "a < b" in page.text


def test_a_report_holds_its_figures_and_tables(tmp_path):
    probs = torch.rand(40, 2).softmax(-1)
    arrays = FigureData(
        probs=probs,
        targets=torch.arange(40) % 2,
        entropy_own=0.6 * torch.rand(40),
        entropy_other=0.6 * torch.rand(40),
        entropy_ood={"noise": 0.6 * torch.rand(9)},
        weights={"0 / 1": torch.randn(3, 4, 4)},
    )
    result = RunResult.of(record())
    path = write_report(tmp_path, result, arrays, config="seed: 3")
    names = {"matrix", "forgetting", "entropy", "reliability", "weights"}
    assert {p.stem for p in (tmp_path / "figures").iterdir()} == names
    text = path.read_text()
    assert set(re.findall(r'<figure id="(\w+)">', text)) == names
    page = Page(text)
    for image, name in zip(page.images, re.findall(r'<figure id="(\w+)">', text), strict=True):
        content = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
        assert content == (tmp_path / "figures" / f"{name}.png").read_bytes()
    assert "99.5" in page.cells
    assert "3500.0" in page.cells
    assert "seed 3 · 2 tasks · 11.0 s · bayeshnet 0.1.0" in page.text


def test_a_report_of_numbers_alone(tmp_path):
    path = write_report(tmp_path, RunResult.of(record(matrix={}, kl=[])))
    assert Page(path.read_text()).images == []
    assert not (tmp_path / "figures").exists()
