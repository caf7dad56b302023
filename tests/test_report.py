"""The report, on evaluation trees made up here: no number below comes from any experiment."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from burn.errors import UserError
from burn.experiment.schema import Methods, Protocol, Report
from burn.report import report
from burn.report.latex import PACKAGES, escape

FULL, NO_REAL, NONE = (3, 3, 4), (0, 5, 5), (0, 0, 0)
STAGES = ("real", "binact", "binary")
# Top-1 after the last stage on imagenet, for seeds 0, 1, 2; cifar10 lies 5 lower.
TOP1 = {
    "random": (20.0, 21.0, 22.0),
    "supervised": (60.0, 62.0, 64.0),
    "s2bnn": (40.0, 41.0, 45.0),
    "burn": (50.0, 51.0, 52.0),
    "teacher": (70.0, 70.5, 71.0),
}
SETS = {"linear-imagenet": ("imagenet", True), "linear-cifar10": ("cifar10", False)}


def make_view(seeds=(0, 1, 2), distilled=("s2bnn", "burn"), protocols=tuple(SETS), title="A title"):
    def method(file, epochs):
        return {"file": file, "epochs": dict(zip(STAGES, epochs, strict=True)), "recipe": {}}

    # supervised stands before random here: the report, not params.yaml, puts the floor first
    standalone = {"supervised": method("supervised", NO_REAL), "random": method("random", NONE)}
    learned = {name: method(name.split("_")[0], FULL) for name in distilled}
    return {
        "seeds": list(seeds),
        "pretrain_on": "imagenet",
        "methods": Methods.model_validate({"standalone": standalone, "distilled": learned}),
        "protocols": {p: Protocol(task="linear", dataset=SETS[p][0]) for p in protocols},
        "report": Report(title=title),
    }


def evaluation(protocol, method, seed, top1, **changes):
    def stage(below, **more):
        value = top1 - below
        return {"top1": value, "top5": value + 20, "knn20": value - 3, "knn200": value - 4} | more

    common = {"collapsed": False, "train_images": 4000, "stand_in": True}
    common |= {"updates": 9, "images_seen": 72}
    if method == "teacher":
        stages = {"teacher": stage(0, epochs=30, precision="fp", **common)}
    else:
        trained = ("binact", "binary") if method == "supervised" else STAGES
        counts = {"random": NONE, "supervised": NO_REAL}.get(method, FULL)
        stages = {
            name: stage(2 - STAGES.index(name), epochs=counts[STAGES.index(name)], **common)
            for name in sorted(trained, reverse=True)
        }
    dataset, stand_in = SETS[protocol]
    names = {"protocol": protocol, "task": "linear", "dataset": dataset, "stand_in": stand_in}
    sizes = {"classes": 10, "train_images": 4000, "test_images": 1000}
    return {**names, **sizes, "method": method, "seed": seed, "stages": stages} | changes


def place(results, protocol, method, seed):
    return results / "eval" / protocol / method / f"seed{seed}" / "metrics.json"


def put(results, found):
    """An evaluation, with predictions that are right for the first top1 % of the images."""
    path = place(results, found["protocol"], found["method"], found["seed"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    images = np.arange(found["test_images"])
    tops = {name: stage.get("top1", 0) for name, stage in found["stages"].items()}
    bits = {k: np.packbits(images < v / 100 * len(images)) for k, v in tops.items()}
    np.savez(path.with_name("predictions.npz"), **bits)


def put_cost(results, method):
    """A made-up cost, the same for every student."""
    network = {"arch": "reactnet", "width": 0.25, "stem": "imagenet", "neck": False}
    precisions = ("real", "binact", "binary")
    if method == "teacher":
        network, precisions = {"arch": "resnet18", "width": 0.25, "stem": "half"}, ("fp",)
    counts = [
        {"precision": precision, "pixels": pixels, "classes": classes, "width": width}
        | {"stem": "imagenet", "parameters": 2_000_000, "bytes": 500_000}
        | {"bops": 6400 * pixels, "flops": 10_000_000, "ops": 10_000_000.0 + 100 * pixels}
        for precision in precisions
        for pixels, width, classes in ((32, 0.25, 0), (224, 0.25, 0), (224, 1.0, 1000))
    ]
    path = results / "cost" / method / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"method": method, "network": network, "counts": counts}))


def put_curves(results, method, seeds=(0, 1, 2)):
    """Made-up training curves; of a stage that was not trained, the heading alone."""
    stages, counts = STAGES, {"random": NONE, "supervised": NO_REAL}.get(method, FULL)
    if method == "teacher":
        stages, counts = [""], [30]
    for seed in seeds:
        for stage, count in zip(stages, counts):
            folder = results / "pretrain" / method / f"seed{seed}" / stage
            if method == "teacher":
                folder = results / "teacher" / f"seed{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            rows = [f"{20 * i},0.1,{20 * i},{5 / i},{1 - i / 9}\n" for i in range(1, count + 1)]
            (folder / "curve.csv").write_text("update,lr,images,loss,balance\n" + "".join(rows))


def edit(results, protocol, method, seed, change):
    path = place(results, protocol, method, seed)
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def make_real(results):
    """Say of the stand-in that it is the real set."""
    for path in results.glob("eval/linear-imagenet/*/seed*/metrics.json"):
        path.write_text(path.read_text().replace('"stand_in": true', '"stand_in": false'))


def blank(base):
    """An empty figure in the place of a drawn one."""
    Image.new("RGB", (1, 1)).save(base.with_suffix(".png"))


@pytest.fixture
def drawn():
    """Asked for by the tests that look at figures: drawing takes most of a report's time."""


@pytest.fixture
def results(tmp_path, request, monkeypatch):
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("burn.report.style.save", lambda _, base: blank(base))
    for protocol in SETS:
        for method, values in TOP1.items():
            for seed, value in enumerate(values):
                value -= 5 * (protocol == "linear-cifar10")
                put(tmp_path, evaluation(protocol, method, seed, value))
    for method in TOP1:
        put_cost(tmp_path, method)
        put_curves(tmp_path, method)
    return tmp_path


def made(results, view=None, name="report"):
    report(view or make_view(), results, results / name)
    return results / name


def lines_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def find(lines, **keys):
    (line,) = [x for x in lines if all(x[k] == v for k, v in keys.items())]
    return line


def grid(path):
    """The cells of a Markdown table, headings first."""
    lines = [x for x in path.read_text(encoding="utf-8").splitlines() if x.startswith("|")]
    cells = [[c.strip() for c in x.strip("|").split("|")] for x in lines]
    assert len({len(row) for row in cells}) == 1
    return [cells[0], *cells[2:]]


def test_csv_has_every_metric_unrounded_with_spread_and_published(results):
    lines = lines_of(made(results) / "tables/linear.csv")
    assert len(lines) == 5 * 2 * 4
    cell = find(lines, method="s2bnn", protocol="linear-imagenet", metric="top1")
    assert float(cell["mean"]) == 42.0
    assert float(cell["std"]) == pytest.approx(7**0.5, abs=1e-12)  # n - 1 in the denominator
    assert (cell["n"], cell["stage"], cell["epochs"]) == ("3", "binary", "4")
    assert (cell["stand_in"], cell["collapsed"]) == ("True", "False")
    # two sources print this one: the paper's table goes first, digits as printed
    assert (cell["published"], cell["published_source"]) == ("61.50", "BURN README (CVPR 2022)")
    top5 = find(lines, method="s2bnn", protocol="linear-imagenet", metric="top5")
    assert (float(top5["mean"]), top5["published"]) == (62.0, "83.512")
    assert find(lines, method="burn", dataset="cifar10", metric="top1")["published"] == ""
    metrics = [x["metric"] for x in lines[:4]]
    assert metrics == ["top1", "top5", "knn20", "knn200"]


def test_rows_are_ordered_and_columns_follow_the_protocols(results):
    table = grid(made(results) / "tables/linear.md")
    assert [row[0] for row in table[1:]] == [
        "random",
        "supervised",
        "s2bnn",
        "burn",
        "teacher (FP)",
    ]
    heads = ["method", "imagenet (stand-in)", "published (real set)", "cifar10"]
    assert table[0] == heads
    turned = make_view(distilled=("burn", "s2bnn"), protocols=tuple(SETS)[::-1])
    table = grid(made(results, turned, "turned") / "tables/linear.md")
    assert [row[0] for row in table[3:5]] == ["burn", "s2bnn"]
    assert table[0] == ["method", "cifar10", *heads[1:3]]


def test_markdown_shows_mean_spread_published_best_and_second(results):
    rows = {row[0]: row[1:] for row in grid(made(results) / "tables/linear.md")}
    assert rows["supervised"] == ["**62.00** ± 2.00", "64.10", "**57.00** ± 2.00"]
    assert rows["burn"] == ["<ins>51.00</ins> ± 1.00", "62.29", "<ins>46.00</ins> ± 1.00"]
    assert rows["random"] == ["21.00 ± 1.00", "", "16.00 ± 1.00"]
    assert rows["teacher (FP)"] == ["70.50 ± 0.50", "", "65.50 ± 0.50"]  # highest, not ranked


def test_what_is_not_fully_binary_is_named_and_not_ranked(results):
    for seed in range(3):
        for protocol in SETS:
            edit(results, protocol, "supervised", seed, lambda f: f["stages"].pop("binary"))
    rows = {row[0]: row[1] for row in grid(made(results) / "tables/linear.md")}
    assert rows["supervised (binact)"] == "61.00 ± 2.00"
    assert rows["burn"].startswith("**51.00**")


def test_equal_numbers_rank_alike(results):
    for seed in range(3):
        put(results, evaluation("linear-imagenet", "s2bnn", seed, TOP1["supervised"][seed]))
    rows = {row[0]: row[1] for row in grid(made(results) / "tables/linear.md")}
    assert rows["s2bnn"] == rows["supervised"] == "**62.00** ± 2.00"
    assert rows["burn"].startswith("<ins>51.00")


def test_one_seed_has_no_spread(results):
    out = made(results, make_view(seeds=[1]))
    rows = {row[0]: row[1] for row in grid(out / "tables/linear.md")}
    assert rows["burn"] == "<ins>51.00</ins>"
    assert "±" not in (out / "report.md").read_text(encoding="utf-8")
    assert "One seed (1)" in (out / "tables/linear.md").read_text(encoding="utf-8")
    assert {x["std"] for x in lines_of(out / "tables/linear.csv")} == {""}


def test_a_score_that_is_no_number_leaves_a_hole_and_is_told(results):
    nan = {"top1": float("nan")}
    for method, seeds in {"s2bnn": range(3), "burn": [2]}.items():
        for seed in seeds:
            edit(
                results, "linear-cifar10", method, seed, lambda f: f["stages"]["binary"].update(nan)
            )
    out = made(results)
    rows = {row[0]: row[3] for row in grid(out / "tables/linear.md")}
    assert rows["s2bnn"] == "–" and rows["burn"] == "<ins>45.50</ins> ± 0.71"
    assert "Some seeds have no number" in (out / "tables/linear.md").read_text(encoding="utf-8")
    lines = lines_of(out / "tables/linear.csv")
    hole = find(lines, method="s2bnn", dataset="cifar10", metric="top1")
    assert (hole["mean"], hole["std"], hole["n"]) == ("", "", "0")


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
    real = make_view(protocols=["linear-cifar10"])
    for path in results.glob("eval/linear-cifar10/*/seed*/metrics.json"):
        path.write_text(path.read_text().replace('"stand_in": true', '"stand_in": false'))
    text = (made(results, real, "real") / "report.md").read_text(encoding="utf-8")
    text = text.split("## Cost")[0]
    assert "stand" not in text.replace("standard deviation", "").lower()
    reserve = "Reduced budget: the published networks saw 1281167 images of ImageNet, 200 epochs"
    assert "ublished" not in text.replace(reserve, "") and reserve in text


def test_a_real_set_has_its_published_figures_without_reserve(results):
    make_real(results)
    out = made(results)
    assert grid(out / "tables/linear.md")[0] == ["method", "imagenet", "published", "cifar10"]
    text = (out / "tables/linear.md").read_text(encoding="utf-8")
    assert "those of BURN README (CVPR 2022)" in text and "not comparable" not in text


def test_dagger_where_any_seed_collapsed_and_the_page_lists_it(results):
    def collapse(found):
        stage = found["stages"]["binact"]
        stage |= {"collapsed": True, "output_spread": 0.0213, "measures": {"target_entropy": 1.5}}
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
    assert rows["burn"] == "<ins>51.00</ins> ± 1.00†"


def test_stages_table_has_a_line_per_trained_stage(results):
    out = made(results)
    table = grid(out / "tables/stages.md")
    assert table[0] == ["method", "stage", "epochs", "imagenet (stand-in)", "cifar10"]
    assert [row[1] for row in table if row[0] == "supervised"] == ["binact", "binary"]
    burn = [row[1:4] for row in table if row[0] == "burn"]
    assert burn[:2] == [["real", "3", "49.00 ± 1.00"], ["binact", "3", "50.00 ± 1.00"]]
    assert burn[2] == ["binary", "4", "<ins>51.00</ins> ± 1.00"]
    assert "teacher" not in {row[0] for row in table}
    lines = lines_of(out / "tables/stages.csv")
    published = [x["stage"] for x in lines if x["method"] == "burn" and x["published"]]
    assert published == ["binary"]  # a published figure is of the finished network


def test_transfer_is_to_the_sets_not_pretrained_on(results):
    out = made(results)
    assert grid(out / "tables/transfer.md")[0] == ["method", "cifar10"]
    rows = {row[0]: row[1] for row in grid(out / "tables/transfer.md")}
    assert rows["burn"] == "<ins>46.00</ins> ± 1.00"
    alone = made(results, make_view(protocols=["linear-imagenet"]), "alone")
    assert not (alone / "tables/transfer.md").exists()


def test_a_removed_method_leaves_no_trace(results):
    out = made(results)  # the folder with s2bnn in it is replaced, not added to
    assert "s2bnn" in (out / "report.md").read_text(encoding="utf-8")
    made(results, make_view(distilled=["burn"]))
    assert place(results, "linear-imagenet", "s2bnn", 0).exists()
    for path in (p for p in out.rglob("*") if p.is_file() and p.suffix not in (".png", ".pdf")):
        assert "s2bnn" not in path.read_text(encoding="utf-8"), path


def test_a_missing_file_is_named_and_nothing_is_left(results):
    lost = place(results, "linear-cifar10", "teacher", 2)
    lost.unlink()
    with pytest.raises(UserError, match=re.escape(f"{lost}: no such file")) as error:
        made(results)
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in results.iterdir()) == ["cost", "eval", "pretrain", "teacher"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 7}, "seed: found 7; expected 0"),
        ({"dataset": "voc07"}, "dataset: found 'voc07'; expected 'imagenet'"),
        ({"stages": {}}, "stages: found"),
        (
            {"stages": {"binary": {"epochs": 4, "collapsed": False}}},
            "stages.binary: found no score",
        ),
    ],
)
def test_a_file_out_of_place_is_refused(results, change, message):
    path = place(results, "linear-imagenet", "burn", 0)
    edit(results, "linear-imagenet", "burn", 0, lambda found: found.update(change))
    with pytest.raises(UserError, match=re.escape(f"{path}: {message}")):
        made(results)


def test_another_task_gets_its_own_tables_and_figure(results, drawn):
    view, protocol = with_two_tasks(results), "fewshot-cifar10"
    out = made(results, view)
    rows = {row[0]: row[1:] for row in grid(out / "tables/fewshot.md")}
    assert rows["burn"] == ["<ins>51.00</ins> ± 1.00"]
    assert (out / "figures/fewshot.pdf").exists()
    assert "Few-shot classification: mean average precision (%)." in (
        out / "tables/fewshot.tex"
    ).read_text().replace("\\%", "%")
    assert "fewshot" not in (out / "tables/linear.csv").read_text()
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["burn"]["fewshot-cifar10"] == 51.0
    both = grid(out / "tables/fewshot.md")
    view["protocols"] = {protocol: view["protocols"][protocol]}
    alone = made(results, view) / "tables"
    assert grid(alone / "fewshot.md") == both
    assert not (alone / "linear.md").exists() and not (alone / "stages.md").exists()


def test_metrics_json_holds_the_means(results):
    metrics = json.loads((made(results) / "metrics.json").read_text())
    assert list(metrics) == sorted(["random", "supervised", "s2bnn", "burn", "teacher"])
    assert metrics["burn"] == {"linear-cifar10": 46.0, "linear-imagenet": 51.0}


def test_page_has_title_tables_and_figure(results, drawn):
    out = made(results, make_view(title="Made-up numbers"))
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
    out = made(results, make_view(seeds=[0]))
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
    (stale / "provenance.json").write_text(json.dumps(told | {"device": "another"}))
    text = (made(results) / "report.html").read_text(encoding="utf-8")
    for word in (
        "Python 3.11.7, torch 2.6",
        "<td class=name>0123456789ab+changes</td>",
        "a machine",
        "2026-01-02 03:04<",
    ):
        assert word in text, word
    assert "queue: 4242" in text and "pretrain_on: imagenet" in text and "another" not in text


def test_latex_is_balanced_booktabs_and_escaped(results):
    out = made(results, make_view(distilled=("burn",)))
    for name in ("linear", "stages"):
        text = (out / f"tables/{name}.tex").read_text()  # plain ASCII or it fails on old engines
        assert text.isascii()
        assert sorted(re.findall(r"\\begin{(\w+)}", text)) == sorted(
            re.findall(r"\\end{(\w+)}", text)
        )
        bare = re.sub(r"\\[{}$%&_#]", "", text)
        assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
        rules = re.findall(r"\\(top|mid|bottom)rule", text)
        assert rules == ["top", "mid", "bottom"] and "hline" not in text
        spec = re.search(r"\\begin{tabular}{(\w+)}", text)[1]
        body = [x for x in text.splitlines() if x.endswith(r"\\")]
        widths = {
            sum(int(n) - 1 for n in re.findall(r"multicolumn{(\d+)}", x))
            + len(re.findall(r"(?<!\\)&", x))
            + 1
            for x in body
        }
        assert widths == {len(spec)}
        assert r"Top-1 (\%)" in text
    text = (out / "tables/linear.tex").read_text()
    assert (
        r"burn & \underline{51.00} $\pm$ 1.00 & \textcolor{gray}{62.29} & \underline{46.00} $\pm$ 1.00 \\"
        in text
    )
    assert r"supervised & \textbf{62.00} $\pm$ 2.00 & \textcolor{gray}{64.10} &" in text
    assert escape("a_b & 5% #1 $x {y} ~^ \\") == (
        r"a\_b \& 5\% \#1 \$x \{y\} \textasciitilde{}\textasciicircum{} \textbackslash{}"
    )


def with_two_tasks(results):
    view, protocol = make_view(), "fewshot-cifar10"
    view["protocols"][protocol] = Protocol(task="fewshot", dataset="cifar10")
    for method, values in TOP1.items():
        for seed, value in enumerate(values):
            found = evaluation("linear-cifar10", method, seed, value)
            found |= {"protocol": protocol, "task": "fewshot"}
            found["stages"] = {k: {"map": s["top1"]} for k, s in found["stages"].items()}
            put(results, found)
    return view


def test_the_comparison_in_latex_groups_columns_by_task(results):
    lines = (
        (made(results, with_two_tasks(results)) / "tables/comparison.tex").read_text().splitlines()
    )
    top = lines.index(r"    \toprule")
    assert lines[top + 1 : top + 6] == [
        r"     & \multicolumn{3}{c}{linear} & \multicolumn{1}{c}{fewshot} \\",
        r"    \cmidrule(lr){2-4}\cmidrule(lr){5-5}",
        r"     & \multicolumn{2}{c}{imagenet$^\ast$} & \multicolumn{1}{c}{cifar10} & \multicolumn{1}{c}{cifar10} \\",
        r"    \cmidrule(lr){2-3}\cmidrule(lr){4-4}\cmidrule(lr){5-5}",
        r"    method & Top-1 & published & Top-1 & mAP \\",
    ]
    (burn,) = (line for line in lines if line.startswith("    burn &"))
    assert r"\textcolor{gray}{62.29}" in burn and burn.count("&") == 4


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex")
def test_latex_compiles(results, monkeypatch):
    monkeypatch.setattr("burn.report.latex.WIDE", 4)  # the comparison is shrunk, then
    out = made(results, with_two_tasks(results))
    assert r"\resizebox" in (out / "tables/comparison.tex").read_text()
    inputs = "".join(rf"\input{{{path}}}" for path in sorted(out.glob("tables/*.tex")))
    assert inputs.count("input") == 6
    head = rf"\documentclass[twocolumn]{{article}}\usepackage{{{','.join(PACKAGES)}}}\begin{{document}}"
    (results / "all.tex").write_text(head + inputs + r"\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    subprocess.run(command, cwd=results, check=True, capture_output=True)


def test_figure_is_a_column_wide_with_vector_fonts_and_no_date(results, drawn):
    out = made(results)
    png = (out / "figures/linear.png").read_bytes()
    assert int.from_bytes(png[16:20], "big") == 990  # 3.3 inches at 300 dots
    pdf = (out / "figures/linear.pdf").read_bytes()
    assert b"/Type /Font" in pdf and b"/Type3" not in pdf
    assert b"CreationDate" not in pdf and b"Software" not in png


def test_figure_draws_bars_spread_chance_and_published_of_real_sets_only(
    results, drawn, monkeypatch
):
    figures = []

    def keep(figure, base):
        blank(base)
        if base.name == "linear":
            figures.append(figure)

    monkeypatch.setattr("burn.report.style.save", keep)
    bad = {"collapsed": True}
    edit(results, "linear-cifar10", "burn", 0, lambda f: f["stages"]["binary"].update(bad))
    made(results)
    make_real(results)
    made(results, make_view(seeds=[0]), "real")

    def drawn_in(figure):
        (ax,) = figure.axes
        heights = [bar[0].get_height() for bar in ax.containers if hasattr(bar, "patches")]
        diamonds = [float(x.get_ydata()[0]) for x in ax.lines if x.get_marker() == "D"]
        dotted = [float(x.get_ydata()[0]) for x in ax.lines if x.get_linestyle() == ":"]
        spreads = len([bar for bar in ax.containers if not hasattr(bar, "patches")])
        return heights, diamonds, dotted, spreads, [text.get_text() for text in ax.texts]

    heights = [21, 62, 42, 51, 70.5]
    heights += [h - 5 for h in heights]
    assert drawn_in(figures[0]) == (heights, [], [10, 10], 10, ["†"])
    heights, diamonds, _, spreads, _ = drawn_in(figures[1])
    assert heights[:5] == [TOP1[method][0] for method in TOP1]
    assert (diamonds, spreads) == ([64.10, 61.50, 62.29], 0)


def test_two_runs_write_the_same_bytes(results, drawn):
    """In another process, with another hash seed, time zone and matplotlib configuration."""
    out = made(results)
    other = results / "elsewhere"
    (results / "matplotlibrc").write_text("axes.facecolor: yellow\nlines.linewidth: 5\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path;"
        "from tests.test_report import make_view; from burn.report import report;"
        "report(make_view(), Path(sys.argv[2]), Path(sys.argv[3]));"
        "assert 'torch' not in sys.modules"
    )
    root = Path(__file__).parent.parent
    environ = os.environ | {
        "PYTHONHASHSEED": "7",
        "TZ": "Asia/Tokyo",
        "MATPLOTLIBRC": str(results / "matplotlibrc"),
    }
    command = [sys.executable, "-c", code, str(root), str(results), str(other)]
    subprocess.run(command, check=True, env=environ, cwd=root)

    def files(base):
        paths = sorted(p for p in base.rglob("*") if p.is_file() and p.name != "provenance.json")
        return {str(p.relative_to(base)): p.read_bytes() for p in paths}

    first, second = files(out), files(other)
    assert {"report.md", "metrics.json", "figures/linear.pdf", "figures/linear.png"} <= set(first)
    # pages, numbers; figures (linear, cost, curves); tables (linear, transfer, stages, cost, differences)
    assert len(first) == 2 + 3 + 3 * 2 + 3 * 4 + 1
    assert {k for k in first if first[k] != second.get(k)} == set() and len(first) == len(second)


def test_a_task_may_not_be_called_as_a_table_of_the_report(results):
    view = make_view()
    view["protocols"]["linear-cifar10"] = Protocol(task="transfer", dataset="cifar10")
    with pytest.raises(UserError, match="tasks: found 'transfer', which the report calls"):
        made(results, view)
    assert not (results / "report").exists()
