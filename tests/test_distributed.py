"""Several processes: one step's work shared out, and every network and helper the same in all."""

import json
import os
import subprocess
import sys

import graphs
import pytest
import torch
from cli import call, pretrain, start, write
from safetensors.torch import load_file

from burn import machine
from burn.experiment.overlay import merge
from burn.experiment.schema import Machine

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
    for gpus, batch in ((1, 8), (2, 4)):
        folder = folders[gpus] = tmp_path / str(gpus)
        folder.mkdir()
        (folder / "watched.py").write_text(WATCHED.format(folder=str(folder)))
        now = {"machine": {"gpus": gpus}, "train": {"batch": batch}}
        now["methods"] = {"standalone": {"supervised": {"epochs": {"real": 1}}}}
        params = write(folder, merge(changes, now))
        words = pretrain(ground, folder / "out", stage="real", code=folder / "watched.py",
                         params=params)  # fmt: skip
        if gpus == 1:
            assert call(*words) == 0
        else:
            process = start(*words)
            out, err = process.communicate(timeout=300)
            assert process.returncode == 0, err
            assert out.count("update 4/4") == 1  # one process speaks
    ranks = [torch.load(folders[2] / f"rank{r}.pt") for r in (0, 1)]
    alone = torch.load(folders[1] / "rank0.pt")
    saved = load_file(folders[2] / "out" / "weights.safetensors")
    for name, network in alone.items():
        for key, value in network.items():
            one, two = ranks[0][name][key], ranks[1][name][key]
            assert torch.equal(one, two) and torch.equal(one, saved[f"{name}.{key}"]), key
            assert torch.allclose(one, value, atol=1e-4), key
    metrics = [json.loads((folders[n] / "out" / "metrics.json").read_text()) for n in (1, 2)]
    assert metrics[0]["images_seen"] == metrics[1]["images_seen"] == 32
    assert metrics[0]["loss"] != metrics[1]["loss"]


# Three updates of each method in two processes; both must hold the same networks and helpers. They
# part late, so that they import only once.
TWO = """
import os, socket, tempfile
from pathlib import Path
import torch
import torch._dynamo, lightly.loss, lightly.models
from burn.networks import build
from burn.artifacts import Work
from burn.images.loader import Loader
from burn.images.store import Split
from burn.machine import setup
from burn.training.distributed import world
from burn.methods import byol, mocov2, swav
from burn.training.method import Context
from burn.experiment.schema import Augment, Machine, Train
from burn.training.fit import fit
with socket.create_server(("127.0.0.1", 0)) as free:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
child = os.fork()
os.environ["RANK"] = os.environ["LOCAL_RANK"] = "0" if child else "1"
os.environ["WORLD_SIZE"] = "2"
device = setup(Machine(device="cpu"))
rank, size = world()
images = torch.randint(0, 256, (48, 3, 32, 32), dtype=torch.uint8,
                       generator=torch.Generator().manual_seed(0))
augment = Augment(size=32)
for module, recipe in (
    (mocov2, dict(embedding=8, queue=21)), (byol, dict(embedding=8, hidden=8)),
    (swav, dict(embedding=8, hidden=8, prototypes=6, queue=17, queue_from=0.0, freeze=0.4,
                small_crops=1)),
):
    torch.manual_seed(0)
    recipe = module.Recipe(**recipe)
    small = module.Method.small_views(recipe, augment)
    loader = Loader(Split(torch.arange(48), images), augment, 8, 2, 0, device, 0, rank, size, small)
    network = build.network({"arch": "reactnet", "width": 0.25, "neck": False}).at("binary")
    method = module.Method(recipe, Context(network, None, 5, 3))
    folder = Path(tempfile.mkdtemp())
    fit(method, loader, Train(batch=8, precision="fp32"), loader.steps, Work(folder / "out", folder, ""))
    state = [p.detach().double().flatten()
             for m in (*method.networks.values(), *method.helpers.values())
             for p in m.state_dict().values()]
    mine = torch.cat(state)
    both = [torch.empty_like(mine) for _ in range(size)]
    torch.distributed.all_gather(both, mine)
    assert torch.equal(*both), module
    if rank == 0:
        print(module.__name__, "agree", flush=True)
torch.distributed.destroy_process_group()
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


def test_two_processes_hold_the_same():
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(graphs.ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", TWO], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and done.stdout.count("agree") == 3, done.stderr[-3000:]


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
