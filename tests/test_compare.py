"""Two runs side by side, on made-up ones."""

import json
import shutil

import pytest
from reports import edit, made, make_settings

from burn.__main__ import main
from burn.errors import UserError
from burn.report.compare import compare


@pytest.fixture
def runs(results, tmp_path):
    """A run with three seeds, and another with two, without s2bnn, of another teacher."""
    first, second = tmp_path / "runs" / "first", tmp_path / "runs" / "second"
    for run, queue in ((first, 1024), (second, 4096)):
        for name in ("eval", "cost", "export", "pretrain", "teacher"):
            shutil.copytree(results / name, run / name)
        for seed in range(3):
            told = {"teacher": {"queue": queue, "norm": True}, "augment": {"size": 32}}
            told = {"params": told, "python": "3", "versions": {}, "device": "", "commit": None}
            (run / "teacher" / f"seed{seed}" / "provenance.json").write_text(json.dumps(told))
    made(first, make_settings())
    for seed in (0, 1):
        higher = lambda found: found["stages"]["binary"].update(top1=60.0)  # noqa: E731
        edit(second, "linear-imagenet", "burn", seed, higher)
    made(second, make_settings(seeds=(0, 1), distilled=("burn",)))
    return first, second


def rows(text):
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]


def test_parameters_and_scores_that_differ(runs):
    parameters, scores = (rows(part) for part in compare(*runs).split("\n\n"))
    assert parameters[0] == ["parameter", "first", "second"]
    assert parameters[2:] == [
        ["methods.distilled.s2bnn", "there", "–"],
        ["seeds", "[0, 1, 2]", "[0, 1]"],
        ["teacher.queue", "1024", "4096"],
    ]
    found = {tuple(row[:2]): row[2:] for row in scores[2:]}
    assert len(found) == 2 * 5
    assert found["linear-imagenet", "burn"] == [
        "Top-1",
        "51.00 ± 1.00",
        "60.00 ± 0.00",
        "+9.00 ± 1.00",
    ]
    assert found["linear-cifar10", "burn"] == [
        "Top-1",
        "46.00 ± 1.00",
        "45.50 ± 0.71",
        "-0.50 ± 1.22",
    ]
    assert found["linear-imagenet", "s2bnn"] == ["Top-1", "42.00 ± 2.65", "–"]


def test_a_run_and_itself_differ_in_nothing(runs):
    text = compare(runs[0], runs[0])
    assert text.startswith("No parameter differs.\n")
    assert {row[5].split(" ±")[0] for row in rows(text)[2:]} == {"+0.00"}


def test_runs_are_named_or_given_as_folders(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs[0].parent.parent)
    (runs[0].parent).rename("results")
    monkeypatch.setattr("sys.argv", ["burn", "compare", "first", "results/second"])
    assert main() == 0
    assert "| teacher.queue | 1024 | 4096 |" in capsys.readouterr().out


def test_what_is_no_run_is_named(runs, tmp_path):
    with pytest.raises(UserError, match="expected a run with a report: results/<run>"):
        compare(runs[0], tmp_path / "nothing")
