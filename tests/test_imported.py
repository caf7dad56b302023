"""What an imported checkpoint can be: a row of the tables, or the teacher."""

import json
from pathlib import Path

import graphs
import pytest
import released
import torch
import yaml
from cli import call, error_of, hashes, pretrain, teacher, write
from released import images, same

from burn.artifacts import file_hash
from burn.errors import UserError
from burn.experiment.overlay import merge
from burn.experiment.reading import load, parse
from burn.experiment.reads import plain, settings, text
from burn.networks import build
from burn.training.frozen import FrozenTeacher

FEATURES = {"methods": {"distilled": {"s2bnn": {"recipe": {"distil": "features"}}}}}


@pytest.fixture(scope="module")
def protocol(ground, tmp_path_factory):
    out = tmp_path_factory.mktemp("protocol") / "linear-imagenet"
    words = ["--protocol", "linear-imagenet", "--data", ground.data, "--out", out]
    code = graphs.ROOT / "burn" / "tasks" / "linear.py"
    assert call("protocol", "--params", ground.params, "--code", code, *words) == 0
    return out


@pytest.fixture(scope="module")
def moco(file, tmp_path_factory):
    return imported(file("moco"), tmp_path_factory.mktemp("imported") / "moco")


def imported(path: Path, out: Path, *words) -> tuple[dict, Path]:
    """The entry of params.yaml that importing the file `path` makes, and the weights it names."""
    assert call("import-checkpoint", "--input", path, "--out", out, *words) == 0
    overlay = yaml.safe_load((out / "overlay.yaml").read_text())
    entry = overlay.get("teacher") or overlay["methods"]["standalone"][out.name]
    return entry, out / "weights.safetensors"


def stages(ground, folder, params, method):
    """Run the three stages of a row, and the exit code of the first that fails."""
    before = None
    for stage in ("real", "binact", "binary"):
        init = {"init": folder / before} if before else {}
        words = pretrain(ground, folder / stage, method, stage, params=params,
                         code=graphs.ROOT / "burn/methods/imported.py", **init)  # fmt: skip
        if call(*words):
            return 2
        before = stage
    return 0


@pytest.mark.parametrize(("kind", "precision"), [("stage", "binact"), ("s2bnn", "binary")])
def test_a_file_becomes_a_row(nets, file, ground, protocol, tmp_path, kind, precision):
    folder, alone = tmp_path / "theirs", tmp_path / "alone"
    entry, weights = imported(file(kind), alone, "--precision", precision)
    params = write(tmp_path, {"methods": {"standalone": {"theirs": entry}}})
    assert stages(ground, folder, params, "theirs") == 0
    reference = nets["s2bnn" if kind == "s2bnn" else "k"].at(precision)
    assert same(build.load(folder / precision), reference, images())
    metrics = json.loads((folder / precision / "metrics.json").read_text())
    assert metrics["sha256"] == file_hash(weights) and metrics["method"] == "theirs"

    def evaluated(networks, out):
        assert call("evaluate", "--params", params, "--protocol", protocol, "--networks",
                    networks, "--seed", 0, "--out", out) == 0  # fmt: skip
        return json.loads((out / "metrics.json").read_text())

    found = evaluated(folder, tmp_path / "eval")
    assert list(found["stages"]) == [precision] and found["method"] == "theirs"
    again = evaluated(alone, tmp_path / "eval alone")["stages"][precision]
    assert again["top1"] == found["stages"][precision]["top1"]


def test_a_row_depends_on_its_file_by_the_hash(file, ground, tmp_path, capsys):
    entry, path = imported(file("backbone"), tmp_path / "imported")
    params = write(tmp_path, {"methods": {"standalone": {"theirs": entry}}})
    read = {
        stage: text(settings(load(params), "pretrain", method="theirs", stage=stage))
        for stage in ("real", "binact", "binary")
    }
    assert all(file_hash(path) in what for what in read.values())
    torch.save({"state_dict": {}}, path)
    assert stages(ground, tmp_path / "out", params, "theirs") == 2
    assert error_of(capsys).startswith(f"recipe.sha256: found {file_hash(path)} for {path}; ")
    path.unlink()
    assert stages(ground, tmp_path / "out", params, "theirs") == 2
    assert error_of(capsys) == f"recipe.checkpoint: found {str(path)!r}; expected a file"


def test_a_row_needs_a_hash_a_student_and_no_epochs(file, moco, ground, tmp_path, capsys):
    base = plain(load(graphs.ROOT / "params.yaml"))
    entry, _ = imported(file("backbone"), tmp_path / "imported")
    for change, message in (
        ({"recipe": {"sha256": None}}, "theirs.recipe.sha256: found None; allowed: "),
        ({"recipe": {"checkpoint": None}}, "theirs.recipe.checkpoint: found None; allowed: "),
        ({"recipe": {"precision": "fp"}}, "theirs.recipe.precision: found 'fp'; allowed: "),
        ({"epochs": {"binary": 3}}, "theirs.epochs.binary: found 3; allowed: 0"),
    ):
        with pytest.raises(UserError, match=message):
            parse(merge(base, {"methods": {"standalone": {"theirs": merge(entry, change)}}}))
    given, path = moco
    entry["recipe"] |= {"checkpoint": given["checkpoint"], "sha256": given["sha256"]}
    params = write(tmp_path, {"methods": {"standalone": {"theirs": entry}}})
    assert stages(ground, tmp_path / "out", params, "theirs") == 2
    said = f"recipe.checkpoint: found a resnet50 in {path}; expected a binary network"
    assert error_of(capsys) == said


# -- the teacher ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["moco", "fp backbone", "training"])
def test_a_file_becomes_the_teacher(nets, file, moco, ground, tmp_path, kind):
    if kind == "moco":
        given, path = moco
    else:
        given, path = imported(file(kind), tmp_path / "imported", "--precision", "fp")
    assert given["network"] == {"arch": "resnet50", "width": 1.0, "stem": "imagenet"}
    assert given["checkpoint"] == str(path) and given["sha256"] == file_hash(path)
    out = tmp_path / "out"
    changes = {"teacher": given} | ({} if kind == "moco" else FEATURES)
    assert call(*teacher(ground, out, write(tmp_path, changes))) == 0
    assert json.loads((out / "metrics.json").read_text())["imported"] is True
    with torch.no_grad():
        got, expected = build.load(out)(images()), released.pooled(nets["h"], images())
        assert torch.allclose(got, expected, atol=1e-5 * expected.max())
        head = FrozenTeacher(out, torch.device("cpu"), torch.float32).head
        if kind == "moco":
            assert torch.allclose(head(expected), nets["h"].fc(expected), atol=1e-4)
        else:
            assert head is None


def test_s2bnn_is_told_what_it_lacks_before_anything_runs(file, moco, tmp_path):
    base, row = plain(load(graphs.ROOT / "params.yaml")), "methods.distilled.s2bnn"
    bare, path = imported(file("fp backbone"), tmp_path / "imported")
    none = dict.fromkeys(base["teacher"]["recipe"])
    for given, found in (
        (bare, f"teacher.checkpoint: found no embedding MLP (head) in {path}"),
        (
            {"method": "swav", "recipe": none},
            "teacher.method: found 'swav', which makes no embedding",
        ),
    ):
        overlay = {"teacher": given}
        with pytest.raises(UserError) as error:
            parse(merge(base, overlay))
        said = str(error.value)
        assert said.startswith(f"params.yaml: {found}") and "\n" not in said
        assert said.endswith(f"allowed: a teacher that has it, or {row}.recipe.distil: features")
        parse(merge(merge(base, overlay), FEATURES))
        parse(merge(merge(base, overlay), {"methods": {"distilled": {"s2bnn": None}}}))
    parse(merge(base, {"teacher": moco[0]}))  # has one
    parse(
        merge(base, {"teacher": bare | {"checkpoint": f"{tmp_path}/to/come"}})
    )  # is not there yet


def test_a_teacher_that_does_not_fit_is_named(file, moco, ground, tmp_path, capsys):
    given, _ = moco
    wrong = {
        "teacher.sha256: found ": {"sha256": "0" * 64},
        "mis-shaped (conv1.weight (64, 3, 7, 7), expected (32, 3, 7, 7))": {
            "network": {**given["network"], "width": 0.5}
        },
        f"{file('moco')}'; expected a weights.safetensors (python -m burn import-checkpoint --inp": {
            "checkpoint": str(file("moco"))
        },
        f"teacher.checkpoint: found '{tmp_path}/gone'": {"checkpoint": f"{tmp_path}/gone"},
    }
    for message, changes in wrong.items():
        params = write(tmp_path, {"teacher": merge(given, changes)})
        assert call(*teacher(ground, tmp_path / "out", params)) == 2
        assert message in error_of(capsys)
    assert not (tmp_path / "out").exists()


def test_a_binary_network_is_no_teacher(file, ground, tmp_path, capsys):
    _, path = imported(file("stage"), tmp_path / "imported")
    params = write(tmp_path, {"teacher": {"checkpoint": str(path)}} | FEATURES)
    assert call(*teacher(ground, tmp_path / "out", params)) == 2
    said = error_of(capsys)
    assert said.startswith(f"teacher.checkpoint: {path} (teacher.network: {{'arch': 'reactnet', ")
    assert "would fit): tensors do not fit the network: " in said


def test_a_teacher_of_another_run_can_be_imported(ground, tmp_path):
    given = {"checkpoint": str(ground.teacher / "weights.safetensors")}
    assert call(*teacher(ground, tmp_path / "out", write(tmp_path, {"teacher": given}))) == 0
    assert hashes(tmp_path / "out")[0] == hashes(ground.teacher)[0]
