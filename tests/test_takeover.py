"""`take-over`: what one engine finished the other takes for done; what is not whole is refused."""

import copy
import os
import shutil
import subprocess
import sys

import graphs
import pytest
from conftest import ENVIRONMENT
from test_rerun import changed_by_params

from burn import __main__

pytestmark = pytest.mark.slow

TARGET = {"snakemake": "dvc", "dvc": "snakemake"}  # by the engine that made the results
NETWORK = "results/smoke/pretrain/burn/seed0/real"
SCORES = "results/smoke/eval/linear-imagenet/burn/seed0/metrics.json"
TABLE = "results/smoke/report/tables/comparison.csv"


@pytest.fixture
def take_over(monkeypatch, capsys):
    """A function that does it in a folder, and returns (exit code, what it said)."""

    def take_over(folder, engine):
        monkeypatch.chdir(folder)
        monkeypatch.setenv("PATH", ENVIRONMENT["PATH"])
        monkeypatch.setattr(sys, "argv", ["burn", "take-over", engine])
        code = __main__.main()
        said = capsys.readouterr()
        assert said.out == ""
        return code, said.err

    return take_over


def check_taken(folder, params):
    """Neither engine has anything to do; after an edit both have the same."""
    after = copy.deepcopy(params)
    after["train"]["lr"] = 0.00375
    graph, changed = changed_by_params(params, after)
    assert graphs.snakemake(folder)[1] == set()
    assert graphs.dvc_status(folder) == set()
    graphs.write_params(folder, after)
    assert graphs.snakemake(folder)[1] == graphs.downstream(graph, changed)
    assert graphs.dvc_status(folder) == changed


def test_dvc_takes_over(smoke_runs, smoke_params, tmp_path, take_over):
    folder = tmp_path / "repo"
    shutil.copytree(smoke_runs.snakemake, folder, symlinks=True)
    assert take_over(folder, "dvc") == (0, "")
    assert take_over(folder, "dvc") == (0, "")  # it has altered nothing that Snakemake looks at
    check_taken(folder, smoke_params)


def test_snakemake_takes_over_in_a_fresh_clone(smoke_runs, smoke_params, tmp_path, take_over):
    first, clone, remote = tmp_path / "first", tmp_path / "clone", tmp_path / "remote"
    shutil.copytree(smoke_runs.dvc, first, symlinks=True)
    somebody = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for folder, words in (
        (first, ["dvc", "remote", "add", "--default", "store", remote]),
        (first, ["dvc", "push"]),
        (first, ["git", "add", "."]),
        (first, ["git", *somebody, "commit", "--quiet", "--message", "Finished"]),
        (tmp_path, ["git", "clone", "--quiet", first, clone]),
    ):
        subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, check=True)
    code, said = take_over(clone, "snakemake")
    assert (code, said.count("\n")) == (2, 1)
    assert "data.safetensors is not in cache (" in said and said.endswith(
        "; run: dvc pull, or dvc repro\n"
    )
    subprocess.run(["dvc", "pull"], cwd=clone, env=ENVIRONMENT, capture_output=True, check=True)
    assert take_over(clone, "snakemake") == (0, "")
    check_taken(clone, smoke_params)


def add_a_byte(path):
    with open(path, "ab") as file:
        file.write(b" ")


def change(old, new):
    return lambda path: path.write_text(path.read_text().replace(old, new, 1))


WRONG = {  # file: what is done to it, what must be said when Snakemake made it, and when DVC did
    "params.yaml": (
        change("lr: 0.001\n", "lr: 0.007\n"),
        "real/curve.csv: made with another train.lr (",
        "real@burn-0: train in params.yaml is modified (",
    ),
    f"{NETWORK}/weights.safetensors": (
        add_a_byte,
        f"{NETWORK}/weights.safetensors: altered since it was made (files: 1)",
        f"{NETWORK}/weights.safetensors is modified (",
    ),
    SCORES: (
        change("0", "1"),
        f"{SCORES}: altered since it was made (files: 1); "
        f"run: snakemake --cores 2 all --forcerun {SCORES}\n",
        f"{SCORES} is modified (",
    ),
    TABLE: (
        add_a_byte,
        "results/smoke/report/tables: altered since it was made (files: 1)",
        "report: results/smoke/report/tables is modified (stages that differ: 1)",
    ),
    f"{NETWORK}/curve.csv": (
        os.remove,
        f"{NETWORK}/curve.csv: curve.csv is missing (steps to run: 1 ",
        f"{NETWORK}/curve.csv is deleted (",
    ),
    "burn/training/losses.py": (
        add_a_byte,
        "real/curve.csv: burn/training/losses.py has changed (",
        "burn/training is modified (",
    ),
}


@pytest.mark.parametrize("engine", TARGET)
@pytest.mark.parametrize("file", WRONG)
def test_what_does_not_belong_to_the_parameters_is_refused(
    smoke_runs, tmp_path, take_over, engine, file
):
    wrong, *expected = WRONG[file]
    folder = getattr(smoke_runs, engine)
    path = folder / file
    shutil.copy2(path, tmp_path / "before")
    try:
        wrong(path)
        code, said = take_over(folder, TARGET[engine])
    finally:
        shutil.copy2(tmp_path / "before", path)
    assert (code, said.count("\n")) == (2, 1)
    assert expected[engine == "dvc"] in said and "; run: " in said


def test_what_snakemake_has_not_made_is_not_given_to_dvc(smoke_runs, take_over):
    code, said = take_over(smoke_runs.dvc, "dvc")
    assert (code, said.count("\n")) == (2, 1)
    assert ": Snakemake has not made it here (" in said
