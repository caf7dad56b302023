"""The frozen floating-point extractor h: trained without labels, or weights that exist already."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from burn.artifacts import Work, artifact
from burn.experiment.checks import check_section
from burn.experiment.plugins import load_code
from burn.experiment.schema import Augment, Machine, Teacher
from burn.images.loader import Loader
from burn.images.store import open_data
from burn.machine import setup
from burn.networks import build
from burn.places import CHECKPOINT, TENSORS, WEIGHTS
from burn.training.distributed import world
from burn.training.existing import existing, identified
from burn.training.fit import fit
from burn.training.heads import mlp_like
from burn.training.method import Context


def pretrain_teacher(settings: dict[str, Any], seed: int, code: Path, data: Path, out: Path,
                     machine: Machine) -> None:  # fmt: skip
    """Train the teacher, or take over `teacher.checkpoint`, and write its artifact folder.

    Args:
        settings: burn.experiment.reads.settings of this step.
        code: the file of `teacher.method`, one of burn/methods/ that needs no teacher itself. If it
            names a network "head", distillation may use that embedding, too (S2-BNN does).
        data: artifact folder of the data set to train on.
    """
    cfg: Teacher = settings["teacher"]
    if cfg.checkpoint is None:
        inputs = [code, data / TENSORS]
    else:
        inputs = [identified(cfg.checkpoint, cfg.sha256, "teacher")]
    with artifact(out, "teacher", settings, inputs, seed=seed) as work:
        device = setup(machine)
        torch.manual_seed(seed)
        if cfg.checkpoint is None:
            networks, result = _trained(settings, seed, code, data, device, machine, work)
        else:
            networks, result = _taken_over(cfg)
        if world()[0] == 0:
            build.save(networks, work.path(WEIGHTS))
        work.save_curve()
        source = open_data(data)
        work.metrics = result | {
            "network": networks["network"].config,
            "precision": "fp",
            "stage": "teacher",
            "seed": seed,
            "stand_in": source.stand_in,
            **({"unlabelled": True} if source.unlabelled else {}),
        }


def _trained(settings, seed, code, data, device, machine, work: Work):
    cfg: Teacher = settings["teacher"]
    module, source = load_code(code, "Method", "Recipe"), open_data(data)
    recipe = check_section("params.yaml", "teacher.recipe", module.Recipe, cfg.recipe)
    split, network = source.split("train"), build.network(cfg.network.model_dump())
    facts = {"imported": False, "epochs": cfg.epochs, "train_images": len(split)}
    if cfg.epochs == 0:  # as initialised
        method = module.Method(recipe, Context(network, None, len(source.classes), 0))
        return method.networks, {"updates": 0, "images_seen": 0, "collapsed": False} | facts
    augment = Augment.model_validate(settings["augment"].model_dump() | recipe.augment)
    small, (rank, processes) = module.Method.small_views(recipe, augment), world()
    loader = Loader(split, augment, cfg.train.batch, module.Method.views, seed, device,
                    machine.workers, rank, processes, small)  # fmt: skip
    steps = cfg.epochs * loader.steps
    method = module.Method(recipe, Context(network, None, len(source.classes), steps))
    result = fit(method, loader, cfg.train, steps, work)
    work.path(CHECKPOINT).unlink(missing_ok=True)
    return method.networks, result | facts


def _taken_over(cfg: Teacher) -> tuple[dict[str, nn.Module], dict[str, Any]]:
    weights, config = existing(cfg.checkpoint, cfg.sha256, "teacher")
    network = build.network(cfg.network.model_dump())
    where = f"teacher.checkpoint: {cfg.checkpoint} (teacher.network: {config} would fit)"
    networks = {"network": build.fill(network, weights["network"], where)}
    if "head" in weights:
        networks["head"] = mlp_like(weights["head"], where, network.dim)
    return networks, {"imported": True, "epochs": 0, "collapsed": False}
