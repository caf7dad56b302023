"""Several tasks in a report: one comparison, a table each, and no trace of what is left out."""

import json

import pytest
from test_report import TOP1, blank, evaluation, find, grid, lines_of, made, make_view, put, results

from burn.errors import UserError
from burn.experiment.schema import Protocol

__all__ = ["results"]  # the fixture

COLUMNS = {
    "linear-voc07": {"task": "linear", "dataset": "voc07"},
    "semi-1": {"task": "semi", "dataset": "imagenet", "options": {"fraction": 0.01}},
    "semi-10": {"task": "semi", "dataset": "imagenet", "stages": "last"},
    "fewshot-voc07": {"task": "fewshot", "dataset": "voc07", "stages": "last"},
}
KS = (1, 4, 16)


def scored(task, dataset, top1):
    if task == "semi":
        return {"top1": top1 - 1, "top5": top1 + 9, "notes": {"lr": 0.1, "held_out": {"a": 3.0}}}
    found = {"map": top1 / 2}
    for k in KS if task == "fewshot" else ():
        found |= {f"map_k{k}": top1 / 2 + k, f"map_k{k}_std": k / 10}
    return found


def view_of(results, wanted=tuple(COLUMNS), **options):
    """A view with `wanted` beside the linear protocols of test_report, and their evaluations."""
    view = make_view(**options)
    for name in wanted:
        protocol = view["protocols"][name] = Protocol.model_validate(COLUMNS[name])
        for method, values in TOP1.items():
            for seed, value in enumerate(values):
                found = evaluation("linear-cifar10", method, seed, value)
                found |= {"protocol": name, "task": protocol.task, "dataset": protocol.dataset}
                last = "teacher" if method == "teacher" else "binary"
                for stage, numbers in found["stages"].items():
                    for key in ("top1", "top5", "knn20", "knn200"):
                        del numbers[key]
                    if protocol.stages == "all" or stage == last:
                        numbers |= scored(protocol.task, protocol.dataset, value)
                put(results, found)
    return view


def test_the_comparison_has_one_row_per_method_and_every_column_filled(results):
    out = made(results, view_of(results, seeds=[0]))
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

    def keep(lines, label, base, plain):
        blank(base)
        drawn[base.name] = label, [cell.column.metric for cell in lines[0][1]], plain

    monkeypatch.setattr("burn.report.parts.bars", keep)
    monkeypatch.setattr("burn.report.parts.panels", keep)
    made(results, view_of(results))
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
    out = made(results, view_of(results))
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
    out = made(results, view_of(results, seeds=seeds))
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
    view = view_of(results, ["semi-10"], seeds=[0])
    out = made(results, view)
    text = (out / "tables/semi.md").read_text()
    assert "burn 3/3/4" in text and "in 18 to 27 optimiser steps" in text
    stages = grid(out / "tables/stages.md")
    view["protocols"]["linear-cifar10"] = Protocol(task="linear", dataset="cifar10", stages="last")
    fewer = grid(made(results, view) / "tables/stages.md")
    assert [row[:-1] for row in stages] == fewer  # the last column, cifar10, is gone
    view["protocols"]["linear-imagenet"] = Protocol(
        task="linear", dataset="imagenet", stages="last"
    )
    out = made(results, view)
    assert not list((out / "tables").glob("stages*"))
    assert "## After each stage" not in (out / "report.md").read_text()


def test_a_last_stage_without_a_score_is_refused(results):
    view = view_of(results, ["semi-10"], seeds=[0])
    path = results / "eval/semi-10/burn/seed0/metrics.json"
    found = json.loads(path.read_text())
    del found["stages"]["binary"]["top1"], found["stages"]["binary"]["top5"]
    path.write_text(json.dumps(found))
    with pytest.raises(UserError, match="stages.binary: found no score"):
        made(results, view)


def test_tasks_left_out_leave_no_trace(results):
    out = made(results, view_of(results))
    assert {"semi", "fewshot", "fewshot_k", "comparison"} <= {
        p.stem for p in (out / "tables").iterdir()
    }
    out = made(results, make_view())
    for path in (p for p in out.rglob("*") if p.is_file() and p.suffix not in (".png", ".pdf")):
        text = path.read_text(encoding="utf-8").lower()
        assert "semi" not in text and "shot" not in text and "voc07" not in text, path
    names = {"linear", "transfer", "stages", "cost", "differences"}
    assert {p.stem for p in out.rglob("*.csv")} == names
