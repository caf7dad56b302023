"""A change reruns what reads it and what is made from that, and nothing else, in both engines.

Expected is what burn.experiment.reads.READS, burn.steps.SOURCES and the contract's graph say. Snakemake
is asked for its plan; DVC for what changed, since it finds out about later stages as it runs.
"""

import copy
import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import graphs
import pytest
from conftest import ENVIRONMENT

from burn.experiment.reading import parse
from burn.steps import files

pytestmark = pytest.mark.slow


def put(key, value):
    """An edit of params.yaml: the value at `key`, which may be made from the old one."""

    def edit(raw):
        *path, last = key.split(".")
        section = graphs.value_at(raw, ".".join(path)) if path else raw
        section[last] = value(section[last]) if callable(value) else value

    edit.__name__ = key
    return edit


def put_in_first(section, rest, value):
    def edit(raw):
        put(f"{section}.{next(iter(graphs.value_at(raw, section)))}.{rest}", value)(raw)

    edit.__name__ = f"{section}.*.{rest}"
    return edit


def drop_first(section):
    def edit(raw):
        del graphs.value_at(raw, section)[next(iter(graphs.value_at(raw, section)))]

    edit.__name__ = f"{section}.* dropped"
    return edit


def more(value):
    return value + 1


EDITS = [
    put_in_first("data.sets", "seed", more),
    put_in_first("data.sets", "test", lambda n: n - 10),
    put("data.download", True),
    put("augment.blur_p", 0.375),
    put("train.lr", 0.00375),
    put("train.checkpoint_minutes", more),
    put("teacher.recipe", lambda old: {**old, "temperature": 0.375}),
    put("student.gradient", "quadratic"),
    put_in_first("methods.distilled", "epochs.binact", more),
    put_in_first("methods.distilled", "recipe", lambda old: {**old, "train": {"lr": 0.00375}}),
    put_in_first("methods.standalone", "recipe", {"augment": {"flip": 0.25}}),
    put_in_first("tasks", "epochs", more),
    put("report.title", "Another title"),
    put("machine", {"device": "cpu", "gpus": 1, "threads": 1, "workers": 0}),
    put("seeds", lambda seeds: [*seeds, max(seeds) + 1]),
    drop_first("methods.distilled"),
]


@contextmanager
def edited(path, content):
    """`path` with other content; put back afterwards, as a user would, with a new date."""
    before = path.read_text()
    path.write_text(content)
    try:
        yield
    finally:
        path.write_text(before)


def changed_by_params(before, after):
    """Of the contract's graph: nodes that are new, or that read other settings."""
    old, new = graphs.contract(parse(before)), graphs.contract(parse(after))
    return new, {n for n, (settings, _) in new.items() if n not in old or old[n][0] != settings}


def changed_by_file(params, file):
    """Of the contract's graph: nodes that compute with `file`."""
    graph = graphs.contract(params)
    step = {"data": "prepare", "eval": "evaluate"}
    methods = {**params.methods.standalone, **params.methods.distilled}

    def sources(name):
        kind, *rest = name.split("/")
        if kind == "methods":
            return [f"burn/methods/{methods[rest[0].removesuffix('.py')].file}.py"]
        if kind == "protocols":
            return [f"burn/tasks/{params.protocols[rest[0]].task}.py"]
        own = [f"burn/methods/{params.teacher.method}.py"] if kind == "teacher" else []
        return [*files(step.get(kind, kind)), *own]

    return graph, {name for name in graph if file in sources(name)}


def check(runs, graph, changed, file, content):
    with edited(runs.snakemake / file, content):
        assert graphs.snakemake(runs.snakemake)[1] == graphs.downstream(graph, changed)
    with edited(runs.dvc / file, content):
        assert graphs.dvc_status(runs.dvc) == changed


def test_nothing_to_do_after_a_run(smoke_runs):
    assert graphs.snakemake(smoke_runs.snakemake)[1] == set()
    assert graphs.dvc_status(smoke_runs.dvc) == set()


def test_nothing_to_do_on_the_command_line(smoke_runs):
    for command, said in (
        (["snakemake", "-n"], "Nothing to be done"),
        (["dvc", "status"], "listing:\n\talways changed\n"),  # and nothing else
    ):
        folder = getattr(smoke_runs, command[0])
        done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout + done.stderr
        assert command[0] != "dvc" or done.stdout == said


def test_both_engines_made_the_same_numbers(smoke_runs, smoke_params):
    def numbers(folder):
        results = folder / "results" / smoke_params["run"]
        found = {p.relative_to(results): p.read_text() for p in results.rglob("metrics.json")}
        found.pop(Path("listing/metrics.json"), None)  # of DVC alone
        return found

    found = numbers(smoke_runs.snakemake)
    assert len(found) > 1
    assert found == numbers(smoke_runs.dvc)


def test_git_sees_nothing_of_a_run_but_the_lock_of_dvc(smoke_runs):
    for folder, seen in ((smoke_runs.snakemake, set()), (smoke_runs.dvc, {"dvc.lock"})):
        done = subprocess.run(
            ["git", "ls-files", "--others", "--exclude-standard", "results", "dvc.lock"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        assert set(done.stdout.split()) == seen


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_a_parameter_reruns_what_reads_it(smoke_runs, smoke_params, edit):
    after = copy.deepcopy(smoke_params)
    edit(after)
    graph, changed = changed_by_params(smoke_params, after)
    check(smoke_runs, graph, changed, "params.yaml", json.dumps(after))


def test_an_override_reruns_what_the_same_edit_would(smoke_runs, smoke_params):
    after = copy.deepcopy(smoke_params)
    after["train"]["lr"] = 0.00375
    graph, changed = changed_by_params(smoke_params, after)
    _, planned = graphs.snakemake(smoke_runs.snakemake, config={"train": {"lr": 0.00375}})
    assert planned == graphs.downstream(graph, changed)
    _, planned = graphs.snakemake(smoke_runs.snakemake, config={"machine": {"threads": 7}})
    assert planned == set()


@pytest.mark.parametrize(
    "file",
    [
        "burn/__main__.py",
        "burn/experiment/reading.py",
        "burn/data/prepare.py",
        "burn/images/decode.py",
        "burn/training/losses.py",
        "burn/training/distributed.py",
        "burn/networks/binary.py",
        "burn/evaluation/scores.py",
        "burn/deploy/cost.py",
        "burn/released/read.py",
        "burn/teacher.py",
        "burn/methods/mocov2.py",
        "burn/pretrain.py",
        "burn/evaluate.py",
        "burn/methods/burn.py",
        "burn/tasks/linear.py",
        "burn/report/published.csv",
    ],
)
def test_a_source_file_reruns_what_computes_with_it(smoke_runs, smoke_params, file):
    graph, changed = changed_by_file(parse(smoke_params), file)
    content = (smoke_runs.snakemake / file).read_text() + "\n"
    check(smoke_runs, graph, changed, file, content)


def test_a_source_file_edited_and_restored_reruns_nothing(smoke_runs):
    for folder in (smoke_runs.snakemake, smoke_runs.dvc):
        with edited(folder / "burn/networks/binary.py", "# gone\n"):
            pass
        os.utime(folder / "burn/training/losses.py")
    assert graphs.snakemake(smoke_runs.snakemake)[1] == set()
    assert graphs.dvc_status(smoke_runs.dvc) == set()
