"""Several tasks in a report: one comparison, a table each, and no trace of what is left out."""

import json

import pytest
from reports import blank, edit, find, grid, lines_of, made, make_settings, place, settings_of

from burn.errors import UserError
from burn.experiment.schema import Protocol


def test_the_comparison_has_one_row_per_method_and_every_column_filled(results):
    out = made(results, settings_of(results, seeds=[0]))
    table = grid(out / "tables/comparison.md")
    assert table[0] == [
        "method",
        "linear: imagenet (stand-in), Top-1",
        "published (real set)",
        "linear: cifar10, Top-1",
        "linear: voc07, mAP",
        "semi: semi-1, Top-1",
        "semi: semi-10, Top-1",
        "fewshot: voc07, mAP",
    ]
    rows = {row[0]: row[1:] for row in table[1:]}
    assert list(rows) == ["random", "supervised", "s2bnn", "burn", "teacher (FP)"]
    assert rows["random"] == ["20.00", "", "15.00", "10.00", "19.00", "19.00", "10.00"]
    assert rows["burn"][1] == "62.29"
    assert all(cell and cell != "–" for row in rows.values() for cell in (row[0], *row[2:]))
    page = (out / "report.md").read_text()
    assert page.index("## Comparison") < page.index("## Linear evaluation")
    assert "(figures/comparison.png)" in page
    assert "Some seeds have no number" not in page
    lines = lines_of(out / "tables/comparison.csv")
    assert find(lines, method="burn", protocol="semi-1")["metric"] == "top1"
    metrics = json.loads((out / "metrics.json").read_text())["burn"]
    assert (metrics["semi-10"], metrics["linear-voc07"], metrics["fewshot-voc07"]) == (49, 25, 25)


def test_figures_of_every_task_have_its_headlines(results, monkeypatch):
    drawn = {}

    def keep(cells, label, base, plain):
        blank(base)
        drawn[base.name] = label, list(cells.metric[cells.row == 0]), plain

    monkeypatch.setattr("burn.report.figures.bars", keep)
    monkeypatch.setattr("burn.report.figures.panels", keep)
    made(results, settings_of(results))
    plain = {"random", "teacher"}
    linear = ["top1", "top1", "map"]
    every = [*linear, "top1", "top1", "map"]
    assert drawn == {
        "comparison": ("score (%)", every, plain),
        "linear": ("Top-1 or mean average precision (%)", linear, plain),
        "semi": ("Top-1 (%)", ["top1", "top1"], plain),
        "fewshot": ("Mean average precision (%)", ["map"], plain),
    }


def test_a_task_has_a_table_with_all_its_scores(results):
    out = made(results, settings_of(results))
    lines = lines_of(out / "tables/semi.csv")
    assert {x["metric"] for x in lines} == {"top1", "top5"}  # no learning rate among them
    assert grid(out / "tables/semi.md")[0] == ["method", "semi-1", "semi-10"]
    text = (out / "tables/semi.md").read_text()
    assert "Settings of their own: semi-1 fraction 0.01." in text
    assert text.count("imagenet, 4000 training") == 1
    head = grid(out / "tables/linear.md")[0]
    assert head[-1] == "voc07, mAP"
    lines = lines_of(out / "tables/linear.csv")
    assert {x["metric"] for x in lines if x["dataset"] == "voc07"} == {"map"}


@pytest.mark.parametrize(("seeds", "spread"), [((0,), "0.40"), ((0, 1, 2), "0.50")])
def test_few_shot_scores_for_each_k_with_their_spread(results, seeds, spread):
    out = made(results, settings_of(results, seeds=seeds))
    table = grid(out / "tables/fewshot_k.md")
    assert table[0] == ["data set", "method", "k = 1", "k = 4", "k = 16"]
    burn = next(row for row in table if row[1] == "burn")
    mean = 25 if len(seeds) == 1 else 25.5
    assert burn[0] == "voc07" and burn[3] == f"<ins>{mean + 4:.2f}</ins> ± {spread}"
    lines = lines_of(out / "tables/fewshot_k.csv")
    cell = find(lines, method="burn", metric="map_k4")
    assert float(cell["within_std"]) == pytest.approx(0.4) and cell["n"] == str(len(seeds))
    text = (out / "tables/fewshot_k.md").read_text()
    assert ("over its drawings of images" in text) == (len(seeds) == 1)
    assert {"map", "map_k1", "map_k4", "map_k16"} == {
        x["metric"] for x in lines_of(out / "tables/fewshot.csv")
    }
    assert (out / "figures/fewshot_k.png").exists()


def test_stages_that_were_not_examined_still_count_as_training(results):
    settings = settings_of(results, ["semi-10"], seeds=[0])
    out = made(results, settings)
    text = (out / "tables/semi.md").read_text()
    assert "burn 3/3/4" in text and "in 18 to 27 optimiser steps" in text
    stages = grid(out / "tables/stages.md")
    settings["protocols"]["linear-cifar10"] = Protocol(
        task="linear", dataset="cifar10", stages="last"
    )
    fewer = grid(made(results, settings) / "tables/stages.md")
    assert [row[:-1] for row in stages] == fewer  # the last column, cifar10, is gone
    settings["protocols"]["linear-imagenet"] = Protocol(
        task="linear", dataset="imagenet", stages="last"
    )
    out = made(results, settings)
    assert not list((out / "tables").glob("stages*"))
    assert "## After each stage" not in (out / "report.md").read_text()


def test_a_last_stage_without_a_score_is_refused(results):
    settings = settings_of(results, ["semi-10"], seeds=[0])
    edit(results, "semi-10", "burn", 0, lambda found: found["stages"]["binary"].pop("scores"))
    with pytest.raises(UserError, match="stages.binary: found no score"):
        made(results, settings)


def test_tasks_left_out_leave_no_trace(results):
    out = made(results, settings_of(results))
    assert {"semi", "fewshot", "fewshot_k", "comparison"} <= {
        p.stem for p in (out / "tables").iterdir()
    }
    out = made(results, make_settings())
    for path in (p for p in out.rglob("*") if p.is_file() and p.suffix not in (".png", ".pdf")):
        text = path.read_text(encoding="utf-8").lower()
        assert "semi" not in text and "shot" not in text and "voc07" not in text, path
    names = {"linear", "transfer", "stages", "cost", "deployment", "differences", "terms"}
    assert {p.stem for p in out.rglob("*.csv")} == names


def test_scores_are_those_an_evaluation_lists_whatever_they_are_called(results):
    """The first leads, also where other numbers go before it, and their spelling says nothing."""

    def report_rank_accuracy(found):
        for stage in found["stages"].values():
            numbers = {
                "rank_accuracy": stage["top1"] + 1,
                "variance_explained": 7.0,
                "a_score": 1.0,
            }
            numbers |= {"rank_accuracy_std": 0.25, "output_spread": 0.5, "tried": 3}
            stage |= numbers | {"scores": ["rank_accuracy", "variance_explained", "a_score"]}

    settings = make_settings(seeds=[0], protocols=["linear-imagenet"])
    for method in ("random", "supervised", "s2bnn", "burn", "teacher"):
        edit(results, "linear-imagenet", method, 0, report_rank_accuracy)
    tables = made(results, settings) / "tables"
    assert grid(tables / "linear.md")[4] == ["burn", "<ins>51.00</ins> ± 0.25"]
    assert "Linear evaluation: Rank accuracy (%)." in (tables / "linear.md").read_text()
    lines = [line for line in lines_of(tables / "linear.csv") if line["method"] == "burn"]
    metrics = [line["metric"] for line in lines]
    assert metrics == ["rank_accuracy", "variance_explained", "a_score"]
    assert [line["within_std"] for line in lines] == ["0.25", "", ""]
    assert [line["mean"] for line in lines] == ["51.0", "7.0", "1.0"]


def test_a_listed_score_without_a_number_is_named(results):
    path = place(results, "linear-imagenet", "burn", 0)
    edit(results, "linear-imagenet", "burn", 0, lambda found: found["stages"]["real"].pop("top5"))
    with pytest.raises(UserError) as error:
        made(results)
    assert str(error.value) == f"{path}: stages.real.top5: found None; expected a number: a score"
