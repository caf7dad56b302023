"""The report as a whole, on made-up evaluations: what it refuses, and what it leaves."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from reports import edit, grid, made, make_settings, place, with_two_tasks

from burn.errors import UserError
from burn.experiment.schema import Protocol


def test_a_removed_method_leaves_no_trace(results):
    out = made(results)  # the folder with s2bnn in it is replaced, not added to
    assert "s2bnn" in (out / "report.md").read_text(encoding="utf-8")
    made(results, make_settings(distilled=["burn"]))
    assert place(results, "linear-imagenet", "s2bnn", 0).exists()
    for path in (p for p in out.rglob("*") if p.is_file() and p.suffix not in (".png", ".pdf")):
        assert "s2bnn" not in path.read_text(encoding="utf-8"), path


def test_a_missing_file_is_named_and_nothing_is_left(results):
    lost = place(results, "linear-cifar10", "teacher", 2)
    lost.unlink()
    with pytest.raises(UserError, match=re.escape(f"{lost}: no such file")) as error:
        made(results)
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in results.iterdir()) == [
        "cost",
        "eval",
        "export",
        "pretrain",
        "teacher",
    ]


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


def test_a_file_that_lacks_a_fact_is_refused(results):
    path = place(results, "linear-imagenet", "burn", 0)
    edit(results, "linear-imagenet", "burn", 0, lambda found: found.pop("classes"))
    with pytest.raises(UserError, match=re.escape(f"{path}: classes: missing; expected here")):
        made(results)


def test_another_task_gets_its_own_tables_and_figure(results, drawn):
    settings, protocol = with_two_tasks(results), "fewshot-cifar10"
    out = made(results, settings)
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
    settings["protocols"] = {protocol: settings["protocols"][protocol]}
    alone = made(results, settings) / "tables"
    assert grid(alone / "fewshot.md") == both
    assert not (alone / "linear.md").exists() and not (alone / "stages.md").exists()


def test_metrics_json_holds_the_means(results):
    metrics = json.loads((made(results) / "metrics.json").read_text())
    assert list(metrics) == sorted(["random", "supervised", "s2bnn", "burn", "teacher"])
    assert metrics["burn"] == {"linear-cifar10": 46.0, "linear-imagenet": 51.0}


def test_two_runs_write_the_same_bytes(results, drawn):
    """In another process, with another hash seed, time zone and matplotlib configuration."""
    out = made(results)
    other = results / "elsewhere"
    (results / "matplotlibrc").write_text("axes.facecolor: yellow\nlines.linewidth: 5\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path;"
        "from tests.reports import make_settings; from burn.report import report;"
        "report(make_settings(), Path(sys.argv[2]), Path(sys.argv[3]));"
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
    # pages, what was asked for, numbers; figures (linear, cost, deployment, curves); tables (linear, transfer, stages, cost,
    # deployment, differences, terms)
    assert len(first) == 3 + 3 + 4 * 2 + 3 * 7
    assert {k for k in first if first[k] != second.get(k)} == set() and len(first) == len(second)


def test_a_task_may_not_be_called_as_a_table_of_the_report(results):
    settings = make_settings()
    settings["protocols"]["linear-cifar10"] = Protocol(task="transfer", dataset="cifar10")
    with pytest.raises(UserError, match="tasks: found 'transfer', which the report calls"):
        made(results, settings)
    assert not (results / "report").exists()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("top1", float("nan"), "top1: found nan"),
        ("output_spread", float("inf"), "output_spread: found inf"),
        ("output_spread", None, "output_spread: found None"),
        ("top1_std", "0.3", "top1_std: found '0.3'"),
    ],
)
def test_a_number_that_is_none_is_said_by_file(results, capsys, key, value, said):
    path = place(results, "linear-imagenet", "burn", 0)

    def change(found):
        found["stages"]["binary"][key] = value
        found["stages"]["binary"] |= {"knn": 12.0}
        found["stages"]["binary"]["scores"] = ["top1", "knn"]

    edit(results, "linear-imagenet", "burn", 0, change)
    made(results)
    assert capsys.readouterr().err == (
        f"warning: {path}: stages.binary.{said}; expected a number, left out\n"
    )


@pytest.mark.parametrize(
    "content", ["{}", "[]", "3", '{"stages": []}', '{"stages": {"binary": 1}}']
)
def test_a_file_of_another_shape_is_refused(results, content):
    path = place(results, "linear-imagenet", "burn", 0)
    whole = json.loads(path.read_text())
    other = json.loads(content)
    path.write_text(json.dumps(whole | other if content.startswith('{"') else other))
    with pytest.raises(UserError, match=re.escape(f"{path}: ")) as error:
        made(results)
    assert "\n" not in str(error.value)
