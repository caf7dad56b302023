"""The FP teacher h: MoCo v2 (Chen et al. 2020) on the FP network, or weights that exist already.

The key encoder's batch norm uses momentum copies of the query's running statistics (EMAN, Cai et
al., CVPR 2021) where the official recipe shuffles batches between GPUs: both keep the statistics
of a batch from giving away which key belongs to which query, and this one works on one device.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from burn import models
from burn.artifacts import WEIGHTS, artifact
from burn.data.loader import Loader
from burn.data.store import open_data
from burn.layouts import Part
from burn.losses import info_nce
from burn.machine import setup, world
from burn.methods.base import Context, Method, Recipe, Step
from burn.models.heads import Queue, follow, frozen_copies, mlp, mlp_like
from burn.params import Augment, Machine, ParamsError, Teacher
from burn.released import fill, identified, read
from burn.train import fit


class MoCo(Method):
    """InfoNCE of a query against its key and a queue of negatives."""

    normalised = True

    def __init__(self, cfg: Teacher, context: Context):
        super().__init__(Recipe(), context)
        self.cfg = cfg
        self.temperature = cfg.temperature
        self.networks["head"] = mlp(context.network.dim, cfg.embedding, norm=cfg.norm)
        self.helpers["key"] = frozen_copies(self.networks[n] for n in ("network", "head"))
        self.helpers["queue"] = Queue(cfg.queue, cfg.embedding)

    def step(self, views, labels, step):
        """Query on the first view, key on the second."""
        queue = self.helpers["queue"]
        query = self.networks["head"](self.networks["network"](views[0])).float()
        query = F.normalize(query, dim=1)
        with torch.no_grad():
            self.helpers["key"].eval()
            network, head = self.helpers["key"]
            key = F.normalize(head(network(views[1])).float(), dim=1)
        negatives = queue.keys.clone()  # the queue changes before the backward pass
        queue.push(key)
        loss = info_nce(query, key, negatives, self.cfg.temperature)
        return Step(loss, outputs=query, targets=key)

    def after_update(self, progress):
        """Move the key encoder towards the query encoder."""
        for slow, name in zip(self.helpers["key"], ("network", "head")):
            follow(slow, self.networks[name], self.cfg.momentum)


def pretrain_teacher(view: dict[str, Any], seed: int, data: Path, out: Path, machine: Machine):
    """Train the teacher, or import `teacher.checkpoint`, and write its artifact folder."""
    cfg: Teacher = view["teacher"]
    if cfg.checkpoint is not None and not Path(cfg.checkpoint).is_file():
        raise ParamsError(f"teacher.checkpoint: found {cfg.checkpoint!r}; expected a file")
    inputs = [data / "data.safetensors"] if cfg.checkpoint is None else [cfg.checkpoint]
    with artifact(out, "teacher", view, inputs, seed=seed) as work:
        device = setup(machine)
        rank, size = world()
        torch.manual_seed(seed)
        source = open_data(data)
        if cfg.checkpoint is not None:
            networks = _imported(cfg)
            result: dict[str, Any] = {"imported": True, "epochs": 0, "collapsed": False}
        else:
            split = source.split("train")
            network = models.build(cfg.network.model_dump())
            method = MoCo(cfg, Context(network, None, len(source.classes), 0))
            result = {"updates": 0, "images_seen": 0, "collapsed": False}
            if cfg.epochs:
                augment = Augment.model_validate(view["augment"].model_dump() | cfg.augment)
                loader = Loader(split, augment, cfg.train.batch, 2, seed, device,
                                machine.workers, rank, size)  # fmt: skip
                result = fit(method, loader, cfg.train, cfg.epochs, work)
                work.path("checkpoint.pt").unlink(missing_ok=True)
            result |= {"imported": False, "epochs": cfg.epochs, "train_images": len(split)}
            networks = method.networks
        if rank == 0:
            save_file(models.flatten(networks), work.path(WEIGHTS))
        work.save_curve()
        work.metrics = result | {"network": networks["network"].config, "precision": "fp",
                                 "stage": "teacher", "seed": seed,
                                 "stand_in": source.stand_in}  # fmt: skip


def _imported(cfg: Teacher) -> dict[str, nn.Module]:
    """The network, and its embedding head if there is one, in `cfg.checkpoint`.

    Takes an artifact folder's weights.safetensors (by that name) or a released file that has a
    ResNet (burn.released). Raises ParamsError listing what does not fit `cfg.network`.
    """
    path = identified(cfg.checkpoint, cfg.sha256, "teacher")
    where = f"teacher.checkpoint: {path}"
    if path.name != WEIGHTS:
        return read(path, fp=True, config=cfg.network.model_dump(), where=where).networks
    with torch.device("meta"):
        part = Part(models.build(cfg.network.model_dump()))
    weights = models.read_weights(path.parent)
    networks = fill(where, "teacher.network", {"network": part}, weights.get("network", {}))
    return networks | ({"head": mlp_like(weights["head"])} if "head" in weights else {})
