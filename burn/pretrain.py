"""One pretraining stage of one method: build, take over what the stage before left, train, save."""

import shutil
from pathlib import Path
from typing import Any

from burn.artifacts import Work, artifact, read_json
from burn.errors import UserError
from burn.experiment.checks import check_section
from burn.experiment.plugins import load_code
from burn.experiment.schema import STAGES, Augment, Machine, Student, Train
from burn.places import CHECKPOINT, METRICS, TENSORS, WEIGHTS


def pretrain(settings: dict[str, Any], method: str, stage: str, seed: int, code: Path, data: Path,
             teacher: Path | None, init: Path | None, out: Path, machine: Machine) -> None:  # fmt: skip
    """Run one stage (`real`, `binact` or `binary`) and write its artifact folder.

    Args:
        settings: burn.experiment.reads.settings of this stage.
        code: the method's file. data, teacher, init: artifact folders; `init` is the stage before.

    A stage of 0 epochs hands on what the stage before left; the first one leaves an artifact without
    a network, and the next stage begins as initialised. Neither imports torch.
    """
    inputs = [code, data / TENSORS]
    inputs += [d / f for d in (teacher, init) if d for f in (WEIGHTS, METRICS)]
    with artifact(out, "pretrain", settings, inputs, seed=seed) as work:
        kind = load_code(code, "Method", "Recipe").Method
        if settings["epochs"] == 0 and (kind.trains or (init and not kind.calibrates)):
            work.metrics = _handed_on(init, work)
        else:
            work.metrics = _train(settings, stage, seed, code, data, teacher, init, machine, work)
        work.metrics |= {"method": method, "stage": stage, "seed": seed, "precision": stage}
        work.save_curve()


def _handed_on(init: Path | None, work: Work) -> dict[str, Any]:
    if init is not None:
        shutil.copyfile(init / WEIGHTS, work.path(WEIGHTS))
        return read_json(init / METRICS, epochs=int) | {"epochs": 0}
    from safetensors.numpy import save_file

    save_file({}, work.path(WEIGHTS))
    return {"epochs": 0, "updates": 0, "images_seen": 0, "student_passes": 0, "collapsed": False}


def _train(settings, stage, seed, code, data, teacher, init, machine, work: Work) -> dict[str, Any]:
    import torch

    from burn.images.loader import Loader, mix
    from burn.images.store import open_data
    from burn.machine import setup
    from burn.networks import build
    from burn.networks.arithmetic import in_force
    from burn.networks.binary import small_latent
    from burn.training.distributed import world
    from burn.training.fit import fit
    from burn.training.frozen import FrozenTeacher
    from burn.training.method import Context

    device = setup(machine)
    rank, processes = world()
    module = load_code(code, "Method", "Recipe")
    recipe = check_section("params.yaml", "recipe", module.Recipe, settings["recipe"])
    cfg = Train.model_validate(settings["train"].model_dump() | recipe.train)
    augment = Augment.model_validate(settings["augment"].model_dump() | recipe.augment)
    source = open_data(data)
    small = module.Method.small_views(recipe, augment)
    views, passes = module.Method.work(recipe)
    # Each stage draws batches and views of its own.
    loader = Loader(source.split("train"), augment, cfg.batch, views, mix(seed, STAGES.index(stage)),
                    device, machine.workers, rank, processes, small)  # fmt: skip
    dtype = torch.bfloat16 if in_force(cfg.precision, device) == "bf16" else torch.float32
    frozen = FrozenTeacher(teacher, device, dtype) if teacher else None
    torch.manual_seed(seed)
    student = Student.model_validate(settings["student"].model_dump() | recipe.student)
    network = build.network(student.model_dump(exclude={"latent"})).at(stage)
    if student.latent == "small":
        small_latent(network)
    steps = settings["epochs"] * loader.steps // passes
    if settings["epochs"] and not steps:
        least = -(-passes // loader.steps)
        raise UserError(
            f"epochs.{stage}: found {settings['epochs']}, not one batch; allowed: at least {least}"
        )
    method = module.Method(recipe, Context(network, frozen, len(source.classes), steps))
    before = build.read_weights(init) if init is not None else {}
    if before:
        _take_over(method.networks, before, init)
    result = {"updates": 0, "images_seen": 0, "collapsed": False}
    if settings["epochs"]:
        result = fit(method, loader, cfg, steps, work)
        work.path(CHECKPOINT).unlink(missing_ok=True)
    elif method.calibrates:
        _calibrate(method.networks["network"].to(device), loader)
    if rank == 0:
        build.save(method.networks, work.path(WEIGHTS))
    return result | {
        "student_passes": result["images_seen"] * passes,
        "epochs": settings["epochs"],
        "network": method.networks["network"].config,
        "train_images": len(source.split("train")),
        "stand_in": source.stand_in,
        **({"unlabelled": True} if source.unlabelled else {}),
        **method.facts,
    }


def _calibrate(network, loader, batches: int = 20) -> None:
    """Give an untrained network's batch norms the statistics of some batches, and train nothing.

    With the initial ones (mean 0, variance 1) its features would be far below what random weights
    can do, and the floor of every table too low.
    """
    import torch
    from torch import nn

    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()  # none of another precision
            module.momentum = None  # plain average
    with torch.no_grad():
        for views, _ in loader.run(0, batches):
            network(views[0])


def _take_over(networks: dict, weights: dict, init: Path) -> None:
    """Load each network's weights; a method's networks must not change between its stages."""
    from burn.networks import build

    if set(networks) != set(weights):
        raise UserError(
            f"{init / WEIGHTS}: found networks {', '.join(sorted(weights))}; "
            f"expected {', '.join(sorted(networks))}"
        )
    for name, network in networks.items():
        build.fill(network, weights[name], f"{init / WEIGHTS}: {name}")
