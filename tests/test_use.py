"""`burn use`: an overlay written into params.yaml, comments kept."""

import os
import tempfile
from pathlib import Path

import graphs
import pytest
import yaml

from burn.errors import UserError
from burn.experiment.overlay import apply
from burn.experiment.reading import load, parse

FILE = graphs.ROOT / "params.yaml"
PRESETS = sorted((graphs.ROOT / "presets").glob("*.yaml"))


def use(folder: Path, changes) -> str:
    """params.yaml after `changes` were written into a copy of it."""
    (folder / "params.yaml").write_text(FILE.read_text())
    (folder / "overlay.yaml").write_text(yaml.safe_dump(changes))
    apply(folder / "params.yaml", folder / "overlay.yaml")
    return (folder / "params.yaml").read_text()


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.stem)
def test_use_amounts_to_what_snakemake_merges(tmp_path, preset):
    from snakemake.utils import update_config

    changes, config = yaml.safe_load(preset.read_text()), yaml.safe_load(FILE.read_text())
    written = use(tmp_path, changes)
    update_config(config, changes)
    assert load(tmp_path / "params.yaml") == parse(config)
    tables = yaml.safe_load(written)
    for table in (*tables["methods"].values(), tables["protocols"], tables["data"]["sets"]):
        assert None not in table.values()  # DVC would make a stage of a null entry


def test_use_of_nothing_changes_no_byte(tmp_path):
    assert use(tmp_path, {}) == FILE.read_text()


def test_use_keeps_comments_and_other_lines(tmp_path):
    before = FILE.read_text().splitlines()
    after = use(tmp_path, {"train": {"lr": 0.5}, "protocols": {"linear-cifar10": None}})
    new = set(after.splitlines()) - set(before)
    assert [" ".join(line.split()) for line in new] == ["lr: 0.5 # peak learning rate"]
    gone = set(before) - set(after.splitlines())
    assert {line.split()[0] for line in gone} == {"lr:", "linear-cifar10:"}


def test_use_can_remove_every_method_of_a_family(tmp_path):
    standalone = load(FILE).methods.standalone
    use(tmp_path, {"methods": {"standalone": dict.fromkeys(standalone)}})
    assert load(tmp_path / "params.yaml").methods.standalone == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"lrr": 1}}, "train.lrr: unknown key"),
        ({"data": {"sets": {"imagenet": None}}}, "pretrain_on: found 'imagenet'"),
        ([1], "found list; expected keys of params.yaml"),
    ],
)
def test_use_refuses_an_invalid_outcome_and_leaves_the_file(changes, message):
    tmp_path = Path(tempfile.mkdtemp())  # short: long lines are cut in the middle
    with pytest.raises(UserError, match=message) as error:
        use(tmp_path, changes)
    assert "overlay.yaml" in str(error.value)
    assert (tmp_path / "params.yaml").read_text() == FILE.read_text()
    assert sorted(os.listdir(tmp_path)) == ["overlay.yaml", "params.yaml"]
