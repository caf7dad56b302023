"""Weights that are no numbers are refused: by name, wherever they come from."""

import shutil

import pytest
import torch
from cli import METHODS, call, error_of, pretrain
from safetensors.torch import load_file, save_file

import burn
from burn.errors import UserError


def spoiled(folder, copy, values=(float("nan"), float("inf"), -float("inf"))):
    """A copy of the artifact `folder`, with some values of one tensor replaced."""
    shutil.copytree(folder, copy)
    weights = load_file(copy / "weights.safetensors")
    key = next(k for k, t in weights.items() if t.is_floating_point() and t.numel() > 8)
    weights[key].flatten()[: len(values)] = torch.tensor(values)
    save_file(weights, copy / "weights.safetensors")
    return copy / "weights.safetensors", key


def test_an_artifact_is_refused(ground, tmp_path, capsys):
    path, key = spoiled(ground.teacher, tmp_path / "bad")
    message = f"{path}: {key}: found 3 values that are NaN or infinite; expected numbers"
    with pytest.raises(UserError) as error:
        burn.load(tmp_path / "bad")
    assert str(error.value) == message
    words = pretrain(ground, tmp_path / "out", "burn", teacher=tmp_path / "bad")
    assert call(*words) == 2
    assert error_of(capsys) == message
    protocol = ["protocol", "--params", ground.params, "--protocol", "linear-imagenet", "--code",
                METHODS.parent / "tasks" / "linear.py", "--data", ground.data]  # fmt: skip
    assert call(*protocol, "--out", tmp_path / "protocol") == 0
    capsys.readouterr()
    words = ["evaluate", "--params", ground.params, "--protocol", tmp_path / "protocol",
             "--networks", tmp_path / "bad", "--seed", 0, "--out", tmp_path / "out"]  # fmt: skip
    assert call(*words) == 2
    assert error_of(capsys) == message
    assert not (tmp_path / "out").exists()


def test_several_tensors_are_counted(ground, tmp_path):
    path, key = spoiled(ground.teacher, tmp_path / "bad")
    weights = load_file(path)
    for other in weights:
        if other != key and weights[other].is_floating_point():
            weights[other].fill_(torch.nan)
            break
    save_file(weights, path)
    with pytest.raises(UserError, match=r"and 1 tensor more\)"):
        burn.load(tmp_path / "bad")


def test_low_precision_is_no_fault(ground, tmp_path):
    shutil.copytree(ground.teacher, tmp_path / "low")
    path = tmp_path / "low" / "weights.safetensors"
    save_file({k: t.to(torch.bfloat16) if t.is_floating_point() else t
               for k, t in load_file(path).items()}, path)  # fmt: skip
    burn.load(tmp_path / "low")


@pytest.mark.parametrize("kind", ["backbone", "stage", "s2bnn", "fp backbone"])
def test_a_released_file_is_refused(file, tmp_path, capsys, kind):
    held = torch.load(file(kind), weights_only=True)
    state = held["state_dict"] if "state_dict" in held else held["classifier"]["state_dict"]
    key = next(k for k, t in state.items() if t.is_floating_point() and t.numel() > 8)
    state[key].flatten()[0] = float("inf")
    torch.save(held, tmp_path / "bad.pth")
    words = ["import-checkpoint", "--input", tmp_path / "bad.pth", "--out", tmp_path / "out"]
    assert call(*words) == 2
    message = error_of(capsys)
    network = "classifier" if kind == "stage" else "network"
    assert message.startswith(f"{tmp_path / 'bad.pth'}: {network}.")
    assert message.endswith(": found 1 value that is NaN or infinite; expected numbers")
    assert not (tmp_path / "out").exists()
