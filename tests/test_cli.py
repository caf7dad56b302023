"""`python -m burn`: errors, kills and resumption, several processes, an imported teacher."""

import csv
import hashlib
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import graphs
import pytest
import torch
import torchvision
import yaml
from safetensors.torch import load_file, save_file

from burn import __main__, machine
from burn.experiment.overlay import merge
from burn.experiment.reading import load, parse
from burn.experiment.reads import plain
from burn.experiment.schema import Machine
from burn.networks import build
from burn.training.frozen import FrozenTeacher

METHODS = graphs.ROOT / "burn" / "methods"
FILES = ("weights.safetensors", "metrics.json")
QUICK = {"batch": 16, "precision": "fp32", "checkpoint_minutes": 0}
STAGES = {"real": 9, "binact": 0, "binary": 9}  # epochs of 5 updates: checkpoints at 20, 40
TINY = {
    "machine": {"device": "cpu", "threads": 1, "workers": 0},
    "data": {"sets": {"imagenet": {"size": 32, "classes": 4, "train": 80, "test": 16}}},
    "student": {"stem": "imagenet"},
    "train": {**QUICK, "precision": "auto"},
    "teacher": {
        "network": {"width": 0.25},
        "train": QUICK,
        "epochs": 9,
        "recipe": {"queue": 64, "embedding": 16},
    },
    "methods": {
        "standalone": {"supervised": {"epochs": STAGES}},
        "distilled": {
            "burn": {"epochs": STAGES, "recipe": {"outputs": 32, "hidden": 32}},
        },
    },
}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def call(*words) -> int:
    """`python -m burn` with `words`, in this process; returns the exit code."""
    before, sys.argv = sys.argv, ["burn", *map(str, words)]
    try:
        return __main__.main()
    finally:
        sys.argv = before


def start(*words, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "burn", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=graphs.ROOT, env=ENVIRONMENT, **pipes | options)


def write(folder: Path, changes: dict | None = None) -> Path:
    """A params.yaml, tiny but for `changes`."""
    raw = merge(merge(plain(load(graphs.ROOT / "params.yaml")), TINY), changes or {})
    (folder / "params.yaml").write_text(yaml.safe_dump(plain(parse(raw)), sort_keys=False))
    return folder / "params.yaml"


@pytest.fixture(scope="session")
def ground(tmp_path_factory) -> SimpleNamespace:
    """params, data and a teacher, trained without interruption."""
    folder = tmp_path_factory.mktemp("ground")
    made = SimpleNamespace(
        params=write(folder), data=folder / "data", teacher=folder / "teacher", folder=folder
    )
    assert (
        call("prepare", "--params", made.params, "--dataset", "imagenet", "--out", made.data) == 0
    )
    assert call(*teacher(made, made.teacher)) == 0
    return made


def teacher(ground, out, params=None) -> list:
    return ["teacher", "--params", params or ground.params, "--seed", 0, "--code", METHODS / "mocov2.py",
            "--data", ground.data, "--out", out]  # fmt: skip


def pretrain(ground, out, method="supervised", stage="binary", code=None, params=None, **more):
    words = ["pretrain", "--params", params or ground.params, "--method", method, "--stage", stage]
    words += ["--seed", 0, "--code", code or METHODS / f"{method}.py", "--data", ground.data]
    return [*words, "--out", out, *(word for k, v in more.items() for word in (f"--{k}", v))]


def hashes(folder: Path) -> list[str]:
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES]


def error_of(capsys) -> str:
    """What the last call said on stderr: one line."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0].removeprefix("error: ")


# -- errors --------------------------------------------------------------------------------------


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


def test_unknown_names_are_refused_with_those_there_are(ground, tmp_path, capsys):
    words = pretrain(ground, tmp_path / "out", "burn", teacher=ground.teacher)
    words[words.index("burn")] = "bern"
    assert call(*words) == 2
    error = error_of(capsys)
    assert error.startswith("--method: found 'bern'; allowed: random, supervised, ")
    assert error.endswith("s2bnn, burn, burn_stable")
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
    save_file({"network.weight": torch.rand(5)}, _made(init) / "weights.safetensors")
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


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


SICK = """
from burn.training.method import Method as Base, Recipe as Recipe, Step
class Method(Base):
    views, neck = 0, False
    def step(self, views, labels, step):
        x = self.networks["network"].bn.weight
        output = x.sum().expand(16, 4) * 1.0
        return Step(output.mean() + (float("nan") if step == {nan} else 0), outputs=output)
"""


@pytest.mark.parametrize(("strict", "nan"), [(False, -1), (True, -1), (False, 27)])
def test_sick_runs_through_the_command_line(ground, tmp_path, capsys, strict, nan):
    (tmp_path / "sick.py").write_text(SICK.format(nan=nan))
    params = write(tmp_path, {"train": {"strict": strict}})
    out = tmp_path / "out"
    code = call(*pretrain(ground, out, code=tmp_path / "sick.py", params=params))
    if nan > 0:
        checkpoint = tmp_path / ".out.partial" / "checkpoint.pt"
        message = error_of(capsys)
        assert "found loss nan at update 28" in message
        assert message.endswith(f"last good checkpoint: {checkpoint} (update 20)")
    elif strict:
        assert "out: collapsed at update 40" in error_of(capsys)
    else:
        assert "warning: " in capsys.readouterr().out
        assert json.loads((out / "metrics.json").read_text())["collapsed"] is True
    assert code == (0 if out.exists() else 2) and out.exists() is (nan < 0 and not strict)


# -- kills ---------------------------------------------------------------------------------------


def killed(out: Path, words: list) -> None:
    """Start a step and kill it with SIGKILL as soon as it has left a checkpoint."""
    process = start(*words, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    checkpoint = out.parent / f".{out.name}.partial" / "checkpoint.pt"
    while not checkpoint.exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert checkpoint.exists() and not out.exists()


@pytest.mark.parametrize("step", ["pretrain", "teacher"])
def test_a_killed_step_goes_on_to_the_same_bytes(ground, tmp_path, capsys, step):
    def words(out):
        if step == "teacher":
            return teacher(ground, out)
        return pretrain(ground, out, "burn", teacher=ground.teacher)

    whole, cut = ground.teacher, tmp_path / "cut"
    if step == "pretrain":
        whole = tmp_path / "whole"
        assert call(*words(whole)) == 0
    killed(cut, words(cut))
    capsys.readouterr()
    assert call(*words(cut)) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "resuming" in line]
    assert len(said) == 1 and int(said[0].split()[3]) in (20, 40)
    assert hashes(cut) == hashes(whole)
    logs = [(f / "log.jsonl").read_text().splitlines() for f in (whole, cut)]
    rows = [[json.loads(line) for line in log] for log in logs]
    for row in rows[0] + rows[1]:
        del row["seconds"]
    assert rows[0] == rows[1] and [row["update"] for row in rows[0]] == [20, 40, 45]
    assert sorted(os.listdir(cut)) == [
        "curve.csv", "log.jsonl", "metrics.json", "provenance.json", "weights.safetensors",
    ]  # fmt: skip
    with open(cut / "curve.csv", newline="") as file:
        curve = [{k: json.loads(v) for k, v in row.items()} for row in csv.DictReader(file)]
    assert curve == rows[0]
    assert ("balance" in curve[0]) == (step == "pretrain")  # the weight of burn's similarity term


# -- several processes ---------------------------------------------------------------------------

# The supervised method; each process leaves its final weights beside the artifact.
WATCHED = """
import os
from burn.methods.supervised import Method as Base, Recipe as Recipe
class Method(Base):
    def after_update(self, progress):
        if progress == 1:
            import torch
            path = os.path.join({folder!r}, "rank" + os.environ.get("RANK", "0") + ".pt")
            torch.save({{n: m.state_dict() for n, m in self.networks.items()}}, path)
"""


def test_two_processes_train_as_one_with_twice_the_batch(ground, tmp_path):
    steady = {"crop": [1.0, 1.0], "flip": 0.0}  # what is drawn depends on the process
    changes = {
        "train": {"optimizer": "sgd", "lr": 0.001, "precision": "fp32"},
        "methods": {"standalone": {"supervised": {"recipe": {"augment": steady}}}},
    }
    folders = {}
    for gpus, batch in ((1, 16), (2, 8)):
        folder = folders[gpus] = _made(tmp_path / str(gpus))
        (folder / "watched.py").write_text(WATCHED.format(folder=str(folder)))
        now = {"machine": {"gpus": gpus}, "train": {"batch": batch}}
        now["methods"] = {"standalone": {"supervised": {"epochs": {"real": 2}}}}
        params = write(folder, merge(changes, now))
        words = pretrain(ground, folder / "out", stage="real", code=folder / "watched.py",
                         params=params)  # fmt: skip
        if gpus == 1:
            assert call(*words) == 0
        else:
            process = start(*words)
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            assert out.count("update 10/10") == 1  # one process speaks
    ranks = [torch.load(folders[2] / f"rank{r}.pt") for r in (0, 1)]
    alone = torch.load(folders[1] / "rank0.pt")
    saved = load_file(folders[2] / "out" / "weights.safetensors")
    for name, network in alone.items():
        for key, value in network.items():
            one, two = ranks[0][name][key], ranks[1][name][key]
            assert torch.equal(one, two) and torch.equal(one, saved[f"{name}.{key}"]), key
            assert torch.allclose(one, value, atol=1e-4), key
    metrics = [json.loads((folders[n] / "out" / "metrics.json").read_text()) for n in (1, 2)]
    assert metrics[0]["images_seen"] == metrics[1]["images_seen"] == 160
    assert metrics[0]["loss"] != metrics[1]["loss"]


def test_more_than_one_gpu_runs_the_same_command_under_torchrun(monkeypatch):
    from torch.distributed import run

    seen = []
    monkeypatch.setattr(run, "main", seen.append)
    monkeypatch.setattr(sys, "argv", ["burn", "teacher", "--seed", "0"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.raises(SystemExit) as stopped:
        machine.relaunch(Machine(gpus=3))
    assert stopped.value.code == 0
    words = ["--standalone", "--nproc-per-node=3", "-m", "burn", "teacher", "--seed", "0"]
    assert seen == [words]
    machine.relaunch(Machine(gpus=1))
    monkeypatch.setenv("LOCAL_RANK", "0")
    machine.relaunch(Machine(gpus=3))
    assert len(seen) == 1


# -- an imported teacher -------------------------------------------------------------------------


def official(folder: Path) -> tuple[Path, torch.nn.Module]:
    """A file in the layout of the official MoCo v2 release, and the network in it."""
    torch.manual_seed(3)
    network = torchvision.models.resnet50(num_classes=128)
    state = {}
    for prefix in ("module.encoder_q.", "module.encoder_k."):
        state |= {prefix + k: v for k, v in network.state_dict().items() if k[:3] != "fc."}
        for name, out in (("fc.0", 2048), ("fc.2", 128)):
            state |= {f"{prefix}{name}.weight": torch.randn(out, 2048) / 45}
            state |= {f"{prefix}{name}.bias": torch.randn(out)}
    state |= {"module.queue": torch.randn(128, 64), "module.queue_ptr": torch.zeros(1).long()}
    network.fc = torch.nn.Identity()
    path = folder / "moco.pth.tar"
    torch.save({"epoch": 800, "arch": "resnet50", "state_dict": state}, path)
    return path, network.eval()


def test_an_official_checkpoint_becomes_the_teacher(ground, tmp_path, capsys):
    path, network = official(tmp_path)
    assert call("import-checkpoint", "--input", path, "--out", tmp_path / "moco") == 0
    overlay = yaml.safe_load((tmp_path / "moco" / "overlay.yaml").read_text())
    given = overlay["teacher"]
    weights = tmp_path / "moco" / "weights.safetensors"
    assert given["checkpoint"] == str(weights)
    assert given["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    plan, out = given["network"], tmp_path / "teacher"
    assert plan == {"arch": "resnet50", "width": 1.0, "stem": "imagenet"}
    params = write(tmp_path, overlay)
    assert call(*teacher(ground, out, params)) == 0
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(build.load(out)(x), network(x))
        head = FrozenTeacher(out, torch.device("cpu"), torch.float32).head
        state = torch.load(path)["state_dict"]
    assert torch.equal(head[2].bias, state["module.encoder_q.fc.2.bias"])
    assert json.loads((out / "metrics.json").read_text())["imported"] is True

    wrong = {
        "teacher.sha256: found ": {"sha256": "0" * 64},
        "mis-shaped (conv1.weight (64, 3, 7, 7), expected (32, 3, 7, 7))": {
            "network": {**plan, "width": 0.5}
        },
        f"{path}'; expected a weights.safetensors (python -m burn import-checkpoint --input": {
            "checkpoint": str(path)
        },
        f"teacher.checkpoint: found '{tmp_path}/gone'": {"checkpoint": f"{tmp_path}/gone"},
    }
    for message, changes in wrong.items():
        params = write(tmp_path, {"teacher": merge(given, changes)})
        assert call(*teacher(ground, tmp_path / "out", params)) == 2
        assert message in error_of(capsys)
    assert not (tmp_path / "out").exists()


def test_checkpoints_that_cannot_be_trusted_or_used_are_refused(ground, tmp_path, capsys):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    whole = load_file(ground.teacher / "weights.safetensors")
    v1 = {f"module.encoder_q.{k[8:]}": v for k, v in whole.items() if k.startswith("network.")}
    v1 |= {"module.encoder_q.fc.weight": torch.ones(1), "module.encoder_q.fc.bias": torch.ones(1)}
    bad = {
        "bomb.pt": ("refused: found io.open in it", {"state_dict": Bomb()}),
        "raw.pt": ("refused: found io.open in it", None),
        "other.pt": ("found no state_dict; expected BURN training checkpoint", {"weights": {}}),
        "v1.pt": ("2 extra (encoder_q.fc.weight; encoder_q.fc.bias)", {"state_dict": v1}),
    }
    for name, (message, content) in bad.items():
        path = tmp_path / name
        if content is None:
            path.write_bytes(pickle.dumps(Bomb(), protocol=2))
        else:
            torch.save(content, path)
        assert call("import-checkpoint", "--input", path, "--out", tmp_path / "out") == 2
        said = error_of(capsys)
        assert said.startswith(f"{path}: ") and message in said
    assert not (tmp_path / "exploded").exists() and not (tmp_path / "out").exists()


def test_a_teacher_of_another_run_can_be_imported(ground, tmp_path):
    given = {"checkpoint": str(ground.teacher / "weights.safetensors")}
    assert call(*teacher(ground, tmp_path / "out", write(tmp_path, {"teacher": given}))) == 0
    assert hashes(tmp_path / "out")[0] == hashes(ground.teacher)[0]
