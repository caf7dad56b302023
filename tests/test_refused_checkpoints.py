"""Checkpoints that cannot be trusted, or are not what they should be, and what is said of them."""

import collections
import pickle

import pytest
import torch
from cli import call, error_of
from released import STEM, STUDENTS, held

import burn
from burn.errors import UserError
from burn.released.layouts import LAYOUTS


class Explosive:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def refusal(tmp_path, content, capsys, *words, **options):
    """The error line that a file of `content` gets, after its name."""
    path = tmp_path / "bad.pth"
    torch.save(content, path, **options)
    assert call("import-checkpoint", "--input", path, "--out", tmp_path / "out", *words) == 2
    assert not (tmp_path / "out").exists()
    return error_of(capsys).removeprefix(f"{path}: ")


@pytest.mark.parametrize("zipped", [True, False])
def test_anything_but_tensors_is_refused_by_name(nets, tmp_path, capsys, zipped):
    whole = held(nets, "backbone")
    for extra, name in (
        (Explosive(tmp_path / "exploded"), "io.open"),
        (collections.UserDict(a=1), "collections.UserDict"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ):
        said = refusal(tmp_path, whole | {"author": extra}, capsys,
                       _use_new_zipfile_serialization=zipped)  # fmt: skip
        assert said == f"refused: found {name} in it; allowed: tensors and plain containers"
    (tmp_path / "bad.pth").write_bytes(pickle.dumps({"a": Explosive(tmp_path / "exploded")}, 2))
    words = ["--input", tmp_path / "bad.pth", "--out", tmp_path / "out"]
    assert call("import-checkpoint", *words) == 2
    assert "refused: found io.open in it" in error_of(capsys)
    assert not (tmp_path / "exploded").exists()


def test_what_is_no_checkpoint_is_one_line(tmp_path, capsys):
    (tmp_path / "text").write_text("hello")
    for path, message in {
        tmp_path / "gone": "no such file; expected a checkpoint",
        tmp_path / "text": "not a checkpoint that can be loaded safely: ",
    }.items():
        assert call("import-checkpoint", "--input", path, "--out", tmp_path / "out") == 2
        assert error_of(capsys).startswith(f"{path}: {message}")
    with pytest.raises(UserError, match="gone: no such file"):
        burn.load(tmp_path / "gone")
    for content, message in {
        "hello": "found str; expected a dictionary",
        (): "found tuple; expected a dictionary",
    }.items():
        assert refusal(tmp_path, content, capsys) == message
    everything = ", ".join(layout.name for layout in LAYOUTS)
    said = refusal(tmp_path, {"weights": {}}, capsys)
    assert said == f"found no state_dict; expected {everything}"
    keys = {letter: torch.ones(1) for letter in "abcdefg"}
    said = refusal(tmp_path, {"state_dict": keys}, capsys)
    assert said == f"found keys a; b; c; d; e; ...; expected {everything}"


def test_another_format_than_the_files_is_an_error(nets, tmp_path, capsys):
    said = refusal(tmp_path, held(nets, "stage"), capsys, "--format", "s2bnn")
    assert said == "found a file of the layout 'BURN stage file' (format burn); " \
        "expected S2-BNN checkpoint"  # fmt: skip
    said = refusal(tmp_path, held(nets, "moco"), capsys, "--format", "burn")
    assert said.startswith("found a file of the layout 'MoCo v2 checkpoint' (format moco); ")


@pytest.mark.parametrize("kind", ["backbone", "s2bnn"])
def test_keys_that_do_not_fit_are_listed(nets, tmp_path, capsys, kind):
    made = held(nets, kind, module=False)
    state, at = dict(made["state_dict"]), "" if kind == "backbone" else "encoder_q."
    for i in range(3, 10):
        del state[f"{at}feature.{i}.binary_3x3.weight"]
    state["surplus"] = torch.ones(1)
    state[f"{at}feature.0.conv1.weight"] = torch.ones(STEM + 8, 3, 3, 3)
    state[f"{at}feature.1.move11.bias"] = "text"
    said = refusal(tmp_path, made | {"state_dict": state}, capsys)
    missing = "; ".join(f"{at}feature.{i}.binary_3x3.weight" for i in range(3, 8))
    name = STUDENTS[kind][0]
    assert said == (
        f"keys do not fit a {name}: 7 missing ({missing}; ...); 1 extra (surplus); 2 mis-shaped "
        f"({at}feature.0.conv1.weight [16, 3, 3, 3], expected [8, 3, 3, 3]; "
        f"{at}feature.1.move11.bias str, expected [1, 8, 1, 1])"
    )


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("stage", "classifier.fc0.weight"),
        ("stage", "teacher_classifier.bn0.running_mean"),
        ("training", "diff_branch_net.1.fc1.bias"),
        ("s2bnn", "encoder_q.fc.2.weight"),
        ("s2bnn", "encoder_q.feature.1.bn2_2.weight"),
        ("moco", "encoder_q.conv1.weight"),
        ("fp backbone", "layer1.0.conv3.weight"),
    ],
)
def test_one_missing_key_is_the_only_complaint(nets, tmp_path, capsys, kind, key):
    made = held(nets, kind)
    name, _, rest = key.partition(".")
    state = made[name]["state_dict"] if kind == "stage" else made["state_dict"]
    del state[f"module.{rest if kind == 'stage' else key}"]
    assert refusal(tmp_path, made, capsys).endswith(f": 1 missing ({key})")


def test_moco_v1_has_another_head(nets, tmp_path, capsys):
    state = dict(held(nets, "moco")["state_dict"])
    for layer in ("fc.0", "fc.2"):
        for part in ("weight", "bias"):
            state[f"module.encoder_q.fc.{part}"] = state.pop(f"module.encoder_q.{layer}.{part}")
    said = refusal(tmp_path, {"state_dict": state}, capsys)
    assert "2 extra (encoder_q.fc.weight; encoder_q.fc.bias)" in said
