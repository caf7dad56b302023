"""Overlays that say something in vain are not taken in silence."""

import subprocess
import sys

import graphs
import pytest
import yaml

from burn.errors import UserError
from burn.experiment.overlay import apply, check
from burn.experiment.reading import read_yaml

BASE = read_yaml(graphs.ROOT / "params.yaml")


def test_null_for_what_is_not_there_is_said(tmp_path, capsys):
    check(BASE, {"a.yaml": {"protocols": {"linear-cifar10": None, "linear-cifar11": None}}})
    assert capsys.readouterr().err == (
        "warning: a.yaml: protocols.linear-cifar11: found null, but there is no such entry to leave out\n"
    )
    check(BASE, {"a.yaml": {"methods": {"distilled": {"x": {}}}},
                 "b.yaml": {"methods": {"distilled": {"x": None}}}})  # fmt: skip
    assert capsys.readouterr().err == ""
    (tmp_path / "p.yaml").write_text((graphs.ROOT / "params.yaml").read_text())
    (tmp_path / "o.yaml").write_text("data: {sets: {cifar: null}}\ntasks: {x: null}\n")
    apply(tmp_path / "p.yaml", tmp_path / "o.yaml")
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {tmp_path / 'o.yaml'}: tasks.x: found null, ")
    assert said.endswith(" (entries: 2)\n")


@pytest.mark.parametrize(
    "preset", sorted((graphs.ROOT / "presets").glob("*.yaml")), ids=lambda p: p.stem
)
def test_presets_miss_nothing(preset, capsys):
    check(BASE, {preset.name: yaml.safe_load(preset.read_text())})
    assert capsys.readouterr().err == ""


def test_two_overlays_that_name_the_run_are_refused():
    overlays = {"a.yaml": {"run": "one"}, "b.yaml": {"train": {}}, "c.yaml": {"run": "two"}}
    with pytest.raises(UserError) as error:
        check(BASE, overlays)
    assert str(error.value) == "c.yaml: run: found 'two', and 'one' in a.yaml; allowed: one overlay " \
        "that says it, or --config run=NAME"  # fmt: skip
    check(BASE, overlays, run_said=True)
    check(BASE, {"a.yaml": {"run": "one"}, "b.yaml": {"run": "one"}})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--configfile", "presets/smoke.yaml", "presets/seeds.yaml"],
            "presets/seeds.yaml: run: found",
        ),
        (
            ["--configfile", "presets/smoke.yaml", "--configfile", "presets/seeds.yaml"],
            "--configfile: f",
        ),
    ],
)
def test_snakemake_stops_with_one_line(words, message):
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "--cores", "1", *words]
    done = subprocess.run(command, cwd=graphs.ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if message in line], done.stderr
