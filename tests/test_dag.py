"""One DAG, two engines: they resolve params.yaml to the same nodes, and to what is documented."""

import json
import os
import subprocess
import sys
from pathlib import Path

import graphs
import pytest
import yaml

from burn.experiment.overlay import merge
from burn.experiment.reading import load, parse
from burn.experiment.reads import plain
from burn.experiment.schema import STAGES
from burn.steps import files

BASE = plain(load(graphs.ROOT / "params.yaml"))
METHOD = next(iter(BASE["methods"]["distilled"]))
# Sets and protocols that are left out, for a smaller graph.
FEW = {
    "data": {"sets": dict.fromkeys(set(BASE["data"]["sets"]) - {"imagenet", "voc07"})},
    "protocols": {"detection": None, "segmentation": None, "fewshot-voc07": None},
}
OVERLAYS = {
    "default": {},
    "no standalone method, another teacher, a data set more": {
        "methods": {
            "standalone": dict.fromkeys(BASE["methods"]["standalone"]),
            "distilled": {"s2bnn": {"recipe": {"distil": "features"}}},  # BYOL makes no embedding
        },
        "teacher": {
            "method": "byol",
            "recipe": {"queue": None, "temperature": None, "norm": None, "embedding": 64},
        },
        "data": {"sets": {**FEW["data"]["sets"], "mine": {"source": "folder", "size": 48}}},
        "protocols": {**FEW["protocols"], "linear-mine": {"task": "linear", "dataset": "mine"}},
    },
    "two seeds, another method, a task at two fractions, of the last stage": {
        "run": "again",
        "seeds": [0, 3],
        "data": FEW["data"],
        "methods": {
            "distilled": {
                METHOD: None,
                "mine": {**BASE["methods"]["distilled"][METHOD], "recipe": {}},
            }
        },
        "protocols": {
            **FEW["protocols"],
            "semi-1": {"task": "semi", "dataset": "imagenet", "options": {"fraction": 0.01}},
            "semi-10": {"task": "semi", "dataset": "imagenet", "stages": "last"},
        },
    },
    **{
        preset.stem: yaml.safe_load(preset.read_text())
        for preset in sorted((graphs.ROOT / "presets").glob("*.yaml"))
    },
}


@pytest.fixture(scope="module", params=OVERLAYS)
def resolved(request, tmp_path_factory):
    """(params, Snakemake's graph of an overlay, DVC's of the params.yaml that it amounts to)."""
    overlay = OVERLAYS[request.param]
    folder = tmp_path_factory.mktemp("dag")
    params = parse(merge(BASE, overlay))
    (folder / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    mine = graphs.copy(folder / "snakemake")
    theirs = graphs.copy(folder / "dvc", plain(params))
    one, planned = graphs.snakemake(mine, overlay=folder / "overlay.yaml" if overlay else None)
    assert planned == set(one), "nothing has run, so everything must"
    return params, one, graphs.dvc(theirs)


def test_both_engines_have_the_nodes_and_edges_of_the_contract(resolved):
    params, snakemake, dvc = resolved
    expected = {name: parents for name, (_, parents) in graphs.contract(params).items()}
    assert {name: set(node.parents) for name, node in snakemake.items()} == expected
    assert {name: set(node.parents) for name, node in dvc.items()} == expected


@pytest.mark.parametrize("field", ["inputs", "outputs", "settings", "files"])
def test_both_engines_agree_on(resolved, field):
    _, snakemake, dvc = resolved
    one = {name: getattr(node, field) for name, node in snakemake.items()}
    assert one == {name: getattr(node, field) for name, node in dvc.items()}


def test_both_engines_run_the_same_commands(resolved):
    params, snakemake, dvc = resolved
    overlaid = f"--params results/{params.run}/params.yaml"
    one = {
        n: node.command.replace(overlaid, "--params params.yaml") for n, node in snakemake.items()
    }
    assert one == {name: node.command for name, node in dvc.items()}


def test_data_sets_depend_on_their_files(resolved):
    params, snakemake, dvc = resolved
    for graph in (snakemake, dvc):
        found = {name: node.files for name, node in graph.items() if node.files}
        assert found == {f"data/{name}": name for name in params.data.sets}


def test_stages_are_named_after_rules_and_what_sets_them_apart(resolved):
    """Snakemake's `pretrain` is six stages of DVC: distilled-real, standalone-binary, ..."""
    _, snakemake, dvc = resolved
    families = ("standalone", "distilled")
    for name, node in dvc.items():
        words = node.rule.split("-")
        if words[-1] in STAGES:
            assert words[0] in families
            assert snakemake[name].rule == "pretrain" and name.endswith(words[-1])
        else:
            assert snakemake[name].rule == words[0]
            assert words[1:] in ([], *([family] for family in families), ["teacher"])


def test_steps_see_what_the_contract_says_they_read(resolved):
    params, snakemake, _ = resolved
    for name, (read, _) in graphs.contract(params).items():
        if not name.startswith("methods/"):  # copied by `cp`, which reads no parameters
            assert snakemake[name].settings == read, name


def test_every_step_depends_on_its_sources(resolved):
    params, snakemake, dvc = resolved
    for graph in (snakemake, dvc):
        for name, node in graph.items():
            if node.rule.startswith("method"):
                continue
            found = {file for file in node.inputs if file.startswith("burn/")}
            step = node.command.split()[3]
            if step == "protocol":
                found -= {f"burn/tasks/{params.protocols[name.split('/')[1]].task}.py"}
            if step == "teacher":
                found -= {f"burn/methods/{params.teacher.method}.py"}
            assert found == set(files(step)), name


def dry_run(folder, config):
    graphs.copy(folder, graphs.effective(merge(BASE, FEW)))
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--quiet", "all", "--config", config],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )


def test_a_dry_run_with_overrides_writes_nothing(tmp_path):
    assert dry_run(tmp_path / "repo", "train={lr: 0.5}").returncode == 0
    assert not (tmp_path / "repo" / "results").exists()


def test_git_keeps_no_copy_of_code(tmp_path):
    """A fresh clone would hold an old copy, no older than its source: Snakemake would run it."""
    folder = graphs.copy(tmp_path / "repo")
    copies = ["results/default/methods/burn.py", "results/cifar/protocols/mine/task.py"]
    command = ["git", "check-ignore", *copies]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.stdout.split() == copies
    command = ["git", "ls-files", "results/**.py"]
    kept = subprocess.run(command, cwd=graphs.ROOT, capture_output=True, text=True)
    assert kept.stdout == ""


def test_a_stage_more_is_one_line_of_the_schema_and_two_stages_of_dvc(tmp_path):
    """What CONTRIBUTING.md says: STAGES and Epochs, a block for each family in dvc.yaml; no rule."""
    folder = graphs.copy(tmp_path / "repo")
    schema, pipeline = folder / "burn/experiment/schema.py", folder / "dvc.yaml"
    text = schema.read_text()
    for old, new in (
        ('STAGES = ("real", "binact", "binary")', 'STAGES = ("real", "binact", "binary", "more")'),
        ("    binary: Count = 0\n", "    binary: Count = 0\n    more: Count = 0\n"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    schema.write_text(text)
    stages = yaml.safe_load(pipeline.read_text())
    for family in ("distilled", "standalone"):
        block = json.dumps(stages["stages"][f"{family}-binary"])
        block = block.replace("/binary", "/more").replace("--stage binary", "--stage more")
        block = block.replace("/binact", "/binary").replace("epochs.binary", "epochs.more")
        stages["stages"][f"{family}-more"] = json.loads(block)
    pipeline.write_text(yaml.safe_dump(stages, sort_keys=False))
    raw = graphs.effective(merge(BASE, FEW))
    raw["methods"]["distilled"]["burn"]["epochs"]["more"] = 1
    for methods in raw["methods"].values():
        for method in methods.values():
            method["epochs"].setdefault("more", 0)
    graphs.write_params(folder, raw)
    code = (
        "import graphs, json, pathlib; here = pathlib.Path.cwd()\n"
        "for found in (graphs.snakemake(here)[0], graphs.dvc(here)):\n"
        "    print(json.dumps({n: [v.command, *sorted(v.parents)] for n, v in found.items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": f"{folder}:{Path(graphs.__file__).parent}"},
    )  # fmt: skip
    one, other = map(json.loads, done.stdout.splitlines()[-2:])
    assert one == other
    methods = [name for family in raw["methods"].values() for name in family]
    assert {f"pretrain/{name}/seed0/more" for name in methods} < one.keys()
    assert "pretrain/burn/seed0/binary" in one["pretrain/burn/seed0/more"]


def test_an_unknown_key_is_one_line_and_exit_code_2(tmp_path):
    done = dry_run(tmp_path / "repo", "trian={lr: 1}")
    assert done.returncode == 2
    assert "trian: unknown key; allowed: run, seeds" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr + done.stdout
