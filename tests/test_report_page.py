"""The page of a report, as Markdown and as HTML."""

import json
import re
from html.parser import HTMLParser

from reports import edit, grid, lines_of, made, make_settings


def test_page_has_title_tables_and_figure(results, drawn):
    out = made(results, make_settings(title="Made-up numbers"))
    page = (out / "report.md").read_text(encoding="utf-8")
    assert page.startswith("# Made-up numbers\n")
    assert "(error bars: one standard deviation; dotted: chance)" in page
    assert "](figures/linear.png)" in page and (out / "figures/linear.png").exists()
    for name in ("linear", "stages"):
        table = (out / f"tables/{name}.md").read_text(encoding="utf-8").split("\n\n")[0]
        assert table in page
    assert page.rstrip().endswith("## Collapsed runs\n\nNone.")
    assert (
        "| burn | imagenet (stand-in) | 51.00 | 62.29 | -11.29 | not the real set, reduced budget |"
        in page
    )


class Links(HTMLParser):
    """Addresses on a page, and the text of the links in the cells of its tables."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.others, self.cells, self.at = [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "a":
            self.anchors.append(found["href"])
            self.at = found["href"]
        self.others += [found[key] for key in ("src", "data") if key in found]
        assert tag not in ("script", "link", "iframe")

    def handle_endtag(self, tag):
        if tag == "a":
            self.at = None

    def handle_data(self, text):
        if self.at and re.match(r"\d+\.\d\d", text):
            self.cells.append((text, self.at))


def test_the_html_page_needs_no_other_file_and_every_number_leads_to_its_node(results, drawn):
    out = made(results, make_settings(seeds=[0]))
    text = (out / "report.html").read_text(encoding="utf-8")
    found = Links(text)
    assert "url(" not in text and "@import" not in text
    assert found.others and all(
        src.startswith("data:image/webp;base64,UklGR") for src in found.others
    )
    for href in found.anchors:
        if href.startswith("#"):
            assert f'id="{href[1:]}"' in text
        else:
            assert not href.startswith(("/", "http")) and (out / href).exists(), href
    burn = "../eval/linear-imagenet/burn/seed0/metrics.json"
    assert ("50.00", burn) in found.cells
    assert (
        "45.00",
        burn.replace("imagenet", "cifar10"),
    ) in found.cells  # nothing published beside it
    assert {h for t, h in found.cells if t == "60.00"} == {
        "../eval/linear-imagenet/supervised/seed0/metrics.json"
    }
    assert '<span class="published" title="BURN README (CVPR 2022)">62.29</span>' in text
    several = Links((made(results, name="many") / "report.html").read_text(encoding="utf-8"))
    assert ("51.00", "../eval/linear-imagenet/burn/") in several.cells


def test_the_page_says_what_ran_where_and_with_which_parameters(results):
    folder = results / "teacher" / "seed1"
    told = {"params": {"teacher": {"queue": 4242}, "augment": {"size": 32}}, "python": "3.11.7",
            "versions": {"torch": "2.6"}, "device": "a machine", "commit": "0123456789abcdef+changes",
            "finished": "2026-01-02T03:04:05+00:00"}  # fmt: skip
    (folder / "provenance.json").write_text(json.dumps(told))
    stale = results / "pretrain" / "gone" / "seed0" / "real"
    stale.mkdir(parents=True)
    (stale / "provenance.json").write_text(json.dumps(told | {"device": "an abacus"}))
    text = (made(results) / "report.html").read_text(encoding="utf-8")
    for word in (
        "Python 3.11.7, torch 2.6",
        "<td class=name>0123456789ab+changes</td>",
        "a machine",
        "2026-01-02 03:04<",
    ):
        assert word in text, word
    assert "queue: 4242" in text and "pretrain_on: imagenet" in text and "abacus" not in text


def test_captions_tell_budget_seeds_and_stand_ins(results):
    out = made(results)
    for name in ("tables/linear.md", "report.md"):
        text = (out / name).read_text(encoding="utf-8")
        assert "over 3 seeds (0, 1, 2)" in text
        assert "imagenet is a stand-in: drawn images" in text
        assert "for the real set and not comparable" in text
        assert "imagenet, 4000 training and 1000 test images of 10 classes" in text
        assert (
            "Pretrained on 4000 images of imagenet, a stand-in, in 18 to 27 optimiser steps "
            "(the teacher in 9)." in text
        )
        assert "supervised 0/5/5; s2bnn 3/3/4; burn 3/3/4; teacher 30" in text
        assert "†" not in text and "no number" not in text
    real = make_settings(protocols=["linear-cifar10"])
    for path in results.glob("eval/linear-cifar10/*/seed*/metrics.json"):
        path.write_text(path.read_text().replace('"stand_in": true', '"stand_in": false'))
    text = (made(results, real, "real") / "report.md").read_text(encoding="utf-8")
    text = text.split("## Cost")[0]
    assert "stand" not in text.replace("standard deviation", "").lower()
    reserve = "Reduced budget: the published networks saw 1281167 images of ImageNet, 200 epochs"
    assert "ublished" not in text.replace(reserve, "") and reserve in text


def test_dagger_where_any_seed_collapsed_and_the_page_lists_it(results):
    def collapse(found):
        stage = found["stages"]["binact"]
        stage |= {"collapsed": True, "output_spread": 0.0213, "target_entropy": 1.5}
        stage["per_class"] = {"cat": 41.5}  # not for the tables

    edit(results, "linear-imagenet", "burn", 1, collapse)
    out = made(results)
    stages = {tuple(row[:2]): row for row in grid(out / "tables/stages.md")}
    assert stages["burn", "binact"][3] == "50.00 ± 1.00†"
    daggered = [key for key, row in stages.items() if any("†" in cell for cell in row)]
    assert daggered == [("burn", "binact")]
    assert "† collapsed" in (out / "tables/stages.md").read_text(encoding="utf-8")
    assert "†" not in (out / "tables/linear.md").read_text(encoding="utf-8")  # its result did not
    page = (out / "report.md").read_text(encoding="utf-8")
    assert "- burn, seed 1, stage binact: output_spread 0.0213, target_entropy 1.5" in page
    assert r"$\pm$ 1.00$^\dagger$ &" in (out / "tables/stages.tex").read_text()
    lines = lines_of(out / "tables/stages.csv")
    assert [x["stage"] for x in lines if x["collapsed"] == "True"] == ["binact"]
    assert "output_spread" not in {x["metric"] for x in lines_of(out / "tables/linear.csv")}

    edit(
        results,
        "linear-imagenet",
        "burn",
        2,
        lambda f: f["stages"]["binary"].update(collapsed=True),
    )
    rows = {row[0]: row[1] for row in grid(made(results, name="again") / "tables/linear.md")}
    assert rows["burn"] == "51.00 ± 1.00†"  # not ranked: the next takes its place
    assert rows["s2bnn"] == "<ins>42.00</ins> ± 2.65"
