"""`python -m burn`: names and inputs that are wrong, stages that train nothing, runs that go wrong."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import graphs
import pytest
import torch
import yaml
from cli import ENVIRONMENT, call, error_of, hashes, pretrain, start, write
from PIL import Image
from safetensors.torch import save_file

import burn
from burn.experiment.overlay import merge
from burn.experiment.reading import load
from burn.experiment.reads import plain
from burn.images.store import open_data
from burn.training.existing import identified


@pytest.mark.parametrize("debug", [False, True])
def test_an_error_is_one_line_and_exit_code_2(tmp_path, debug):
    raw = merge(plain(load(graphs.ROOT / "params.yaml")), {"train": {"lrr": 1}})
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(raw))
    words = ["prepare", "--params", tmp_path / "p.yaml", "--dataset", "imagenet"]
    words += ["--out", tmp_path / "data", *(["--debug"] if debug else [])]
    process = start(*words)
    out, err = process.communicate()
    assert out == "" and os.listdir(tmp_path) == ["p.yaml"]
    if debug:
        assert process.returncode == 1 and err.startswith("Traceback")
        assert "train.lrr: unknown key" in err.splitlines()[-1]
    else:
        assert process.returncode == 2 and len(err.splitlines()) == 1
        assert err.startswith(f"error: {tmp_path / 'p.yaml'}: train.lrr: unknown key; allowed: ba")


def test_a_step_needs_no_docstrings(tmp_path):
    words = [
        "prepare",
        "--params",
        write(tmp_path),
        "--dataset",
        "imagenet",
        "--out",
        tmp_path / "data",
    ]
    process = start(*words, env={**ENVIRONMENT, "PYTHONOPTIMIZE": "2", "BURN_WARM": "0"})
    _, err = process.communicate()
    assert process.returncode == 0, err


def test_unknown_names_are_refused_with_those_there_are(ground, tmp_path, capsys):
    words = pretrain(ground, tmp_path / "out", "burn", teacher=ground.teacher)
    words[words.index("burn")] = "bern"
    assert call(*words) == 2
    error = error_of(capsys)
    assert error.startswith("--method: found 'bern'; allowed: random, supervised, ")
    assert error.endswith("s2bnn, burn_literal, burn_released, burn, burn_same, burn_dense")
    assert call("prepare", "--params", ground.params, "--dataset", "voc12", "--out", tmp_path) == 2
    error = error_of(capsys)
    assert error.startswith("--dataset: found 'voc12'; allowed: imagenet, places205, voc07, ")
    words = ["--protocol", "x", "--code", "x", "--data", ground.data, "--out", tmp_path / "out"]
    assert call("protocol", "--params", ground.params, *words) == 2
    assert error_of(capsys).startswith("--protocol: found 'x'; allowed: linear-imagenet, ")
    assert os.listdir(tmp_path) == []


def test_missing_inputs_are_named_and_nothing_is_written(ground, tmp_path, capsys):
    gone, out = tmp_path / "gone", tmp_path / "out"
    whole = {"teacher": ground.teacher}
    lost = SimpleNamespace(**{**vars(ground), "data": gone})
    wanted = {
        gone / "data.safetensors": pretrain(lost, out, "burn", **whole),
        gone / "weights.safetensors": pretrain(ground, out, "burn", **whole, init=gone),
        gone: pretrain(ground, out, "burn", code=gone, **whole),
        "--teacher": pretrain(ground, out, "burn"),
        gone / "protocol.json": ["evaluate", "--params", ground.params, "--protocol", gone,
                                 "--networks", ground.teacher, "--seed", 0, "--out", out],
    }  # fmt: skip
    for name, words in wanted.items():
        assert call(*words) == 2
        assert error_of(capsys).startswith(f"{name}: ")
    assert call(*pretrain(ground, ground.params / "a" / "out")) == 2  # no folder can be there
    assert "params.yaml" in error_of(capsys)
    assert os.listdir(tmp_path) == []


def test_an_init_of_another_shape_is_refused(ground, tmp_path, capsys):
    for width in (0.25, 0.5):
        epochs = {"real": 0, "binact": 0, "binary": 1}
        changes = {"methods": {"standalone": {"supervised": {"epochs": epochs}}}}
        params = write(tmp_path, merge(changes, {"student": {"width": width}}))
        assert call(*pretrain(ground, tmp_path / str(width), params=params)) == 0
    words = pretrain(ground, tmp_path / "out", init=tmp_path / "0.5")
    assert call(*words) == 2
    assert "0.5/weights.safetensors: network: tensors do not fit the network: " in error_of(capsys)
    (tmp_path / "0.5" / "weights.safetensors").unlink()
    save_file({"other.weight": torch.ones(1)}, tmp_path / "0.5" / "weights.safetensors")
    assert call(*words) == 2
    assert "found networks other; expected classifier, network" in error_of(capsys)


def test_a_skipped_stage_hands_networks_on_without_torch(ground, tmp_path):
    init = tmp_path / "real"
    init.mkdir()
    save_file({"network.weight": torch.rand(5)}, init / "weights.safetensors")
    before = {"epochs": 4, "precision": "real", "stage": "real", "collapsed": True, "seed": 0}
    before["method"] = "burn"
    (init / "metrics.json").write_text(json.dumps(before))
    words = pretrain(ground, tmp_path / "binact", "burn", "binact", teacher=init, init=init)
    code = "import sys; from burn.__main__ import main; sys.argv[0] = 'burn'; print(main())"
    code += "; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=graphs.ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "0\nFalse\n"
    assert hashes(tmp_path / "binact")[0] == hashes(init)[0]
    metrics = json.loads((tmp_path / "binact" / "metrics.json").read_text())
    assert metrics == before | {"epochs": 0, "stage": "binact", "precision": "binact"}


SICK = """
from burn.training.method import Method as Base, Recipe as Recipe, Step
class Method(Base):
    views, student_passes = 0, 1
    def step(self, views, labels, step):
        x = self.networks["network"].bn.weight
        output = x.sum().expand(8, 4) * 1.0
        return Step(output.mean() + (float("nan") if step == {nan} else 0), outputs=output)
"""


@pytest.mark.parametrize(("strict", "nan"), [(False, -1), (True, -1), (False, 22)])
def test_sick_runs_through_the_command_line(ground, tmp_path, capsys, strict, nan):
    (tmp_path / "sick.py").write_text(SICK.format(nan=nan))
    params = write(tmp_path, {"train": {"strict": strict}})
    out = tmp_path / "out"
    code = call(*pretrain(ground, out, code=tmp_path / "sick.py", params=params))
    if nan > 0:
        checkpoint = tmp_path / ".out.partial" / "checkpoint.pt"
        message = error_of(capsys)
        assert "found loss nan at update 23" in message
        assert message.endswith(f"last good checkpoint: {checkpoint} (update 20)")
    elif strict:
        assert "out: collapsed at update 24" in error_of(capsys)
    else:
        assert "warning: " in capsys.readouterr().out
        assert json.loads((out / "metrics.json").read_text())["collapsed"] is True
    assert code == (0 if out.exists() else 2) and out.exists() is (nan < 0 and not strict)


def test_a_tilde_is_the_home_folder_wherever_a_path_is_named(
    ground, tmp_path, monkeypatch, file, capsys
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "images" / "mine" / split / name).mkdir(parents=True)
            for k in range(4):
                Image.new("RGB", (40, 40), (k, 0, 0)).save(
                    tmp_path / "images" / "mine" / split / name / f"{k}.png"
                )
    (tmp_path / "list.txt").write_text("~/images/mine/train/a/0.png\n~/images/mine/train/b/1.png\n")
    sets = {
        "below": {"source": "folder", "path": "mine", "size": 16},  # the root is at home
        "listed": {"source": "images", "path": "~/list.txt", "size": 16},
    }
    params = write(tmp_path, {"data": {"root": "~/images", "sets": sets}})
    assert "root: ~/images" in params.read_text()  # and no node depends on whose home it is
    for name, count in (("below", 8), ("listed", 2)):
        words = ["prepare", "--params=~/params.yaml", "--dataset", name, f"--out=~/{name}"]
        assert call(*words) == 0, capsys.readouterr().err
        capsys.readouterr()
        assert len(open_data(tmp_path / name).split("train")) == count
    os.symlink(file("moco"), tmp_path / "released.pth")
    words = ["import-checkpoint", "--input=~/released.pth", "--out=~/imported"]
    assert call(*words) == 0, capsys.readouterr().err
    assert identified("~/imported/weights.safetensors", None, "teacher").is_file()
    assert burn.load("~/imported")
    assert not (tmp_path / "~").exists()
