"""One pretraining stage of one method: build, take over what the stage before left, train, save."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

from burn.artifacts import METRICS, WEIGHTS, Work, artifact, read_json
from burn.params import Augment, Machine, ParamsError, Train, check_section

DATA, NETWORK = "data.safetensors", "network"


def load_code(path: str | Path):
    """The module in the file `path`: a method's or a task's code, as the DAG handed it over."""
    path = Path(path)
    if not path.is_file():
        raise ParamsError(f"{path}: no such file; has the step that makes it run?")
    spec = importlib.util.spec_from_file_location(f"burn_code_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pretrain(view: dict[str, Any], method: str, stage: str, seed: int, code: Path, data: Path,
             teacher: Path | None, init: Path | None, out: Path, machine: Machine) -> None:  # fmt: skip
    """Run one stage (`real`, `binact` or `binary`) and write its artifact folder.

    Args:
        view: burn.params.view of this stage.
        code: the method's file. data, teacher, init: artifact folders; `init` is the stage before.

    With 0 epochs the networks are handed on (or, without `init`, saved as initialised).
    """
    inputs = [code, data / DATA]
    inputs += [d / f for d in (teacher, init) if d for f in (WEIGHTS, METRICS)]
    with artifact(out, "pretrain", view, inputs, seed=seed) as work:
        if view["epochs"] == 0 and init is not None and not load_code(code).Method.calibrates:
            shutil.copyfile(init / WEIGHTS, work.path(WEIGHTS))
            before = read_json(init / METRICS)
            work.metrics = before | {"stage": stage, "precision": stage, "epochs": 0}
        else:
            work.metrics = _train(view, stage, seed, code, data, teacher, init, machine, work)
            work.metrics |= {"method": method, "stage": stage, "seed": seed}
        work.save_curve()


def _train(view, stage, seed, code, data, teacher, init, machine, work: Work) -> dict[str, Any]:
    import torch
    from safetensors.torch import save_file

    from burn import models
    from burn.data.loader import Loader
    from burn.data.store import open_data
    from burn.machine import in_force, setup, world
    from burn.methods.base import Context
    from burn.train import fit

    device = setup(machine)
    rank, size = world()
    module = load_code(code)
    recipe = check_section("params.yaml", "recipe", module.Recipe, view["recipe"])
    cfg = Train.model_validate(view["train"].model_dump() | recipe.train)
    augment = Augment.model_validate(view["augment"].model_dump() | recipe.augment)
    source = open_data(data)
    small = module.Method.small_views(recipe, augment)
    loader = Loader(source.split("train"), augment, cfg.batch, module.Method.views, seed,
                    device, machine.workers, rank, size, small)  # fmt: skip
    dtype = torch.bfloat16 if in_force(cfg.precision, device) == "bf16" else torch.float32
    frozen = models.FrozenTeacher(teacher, device, dtype) if teacher else None
    torch.manual_seed(seed)
    config = view["student"].model_dump() | {"neck": module.Method.neck}
    network = models.build(config).at(stage)
    steps = view["epochs"] * loader.steps
    method = module.Method(recipe, Context(network, frozen, len(source.classes), steps))
    if init is not None:
        _take_over(method.networks, models.read_weights(init), init)
    result = {"updates": 0, "images_seen": 0, "collapsed": False}
    if view["epochs"]:
        result = fit(method, loader, cfg, view["epochs"], work)
        work.path("checkpoint.pt").unlink(missing_ok=True)
    elif method.calibrates:
        _calibrate(method.networks["network"].to(device), loader)
    if rank == 0:
        save_file(models.flatten(method.networks), work.path(WEIGHTS))
    return result | {
        "epochs": view["epochs"],
        "network": method.networks["network"].config,
        "precision": stage,
        "train_images": len(source.split("train")),
        "stand_in": source.stand_in,
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
    if set(networks) != set(weights):
        raise ParamsError(
            f"{init / WEIGHTS}: found networks {', '.join(sorted(weights))}; "
            f"expected {', '.join(sorted(networks))}"
        )
    for name, network in networks.items():
        try:
            network.load_state_dict(weights[name])
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise ParamsError(f"{init / WEIGHTS}: {name} is of another shape: {reason}") from None
