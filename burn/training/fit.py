"""The one training loop: every method, the teacher, every stage.

Read `fit` top to bottom. What is random about a step depends on (seed, step) alone, so a run that
is killed and resumed from its checkpoint ends in the same bits as one that was not.
"""

import contextlib
import math
import os
import time
from typing import Any

import torch
from torch import Tensor, nn

from burn.artifacts import Work
from burn.errors import UserError
from burn.experiment.schema import Train
from burn.images.loader import Loader
from burn.networks.arithmetic import autocast, in_force
from burn.networks.binary import sharing_weights
from burn.places import CHECKPOINT, LOG
from burn.progress import Progress
from burn.training import collapse
from burn.training.distributed import synchronise

FLUSH = 20  # updates between two looks at the loss (on a GPU each look waits for it)


class Objective(nn.Module):
    """A method as one module, so that DDP sees one forward pass. Parameters: all that train."""

    def __init__(self, method):
        super().__init__()
        self.networks = nn.ModuleDict(method.networks)
        self.helpers = nn.ModuleDict(method.helpers)
        self.method = [method]  # in a list: it is no submodule

    def forward(self, views: list[Tensor], labels: Tensor, step: int):
        with sharing_weights():
            out = self.method[0].step(views, labels, step)
        # DDP hands outputs on as they are only if they are plain containers of tensors.
        return out.loss, out.parts, out.outputs, out.targets


def learning_rate(update: int, total: int, cfg: Train) -> float:
    """Linear from 0 over the first `warmup` share of `total` updates, then by `schedule` to 0."""
    rise = cfg.warmup * total
    if update < rise:
        return cfg.lr * (update + 1) / (rise + 1)
    done = (update - rise) / max(1, total - rise)
    if cfg.schedule == "linear":
        return cfg.lr * (1 - done)
    return cfg.lr * (1 + math.cos(math.pi * done)) / 2


def optimiser(method, cfg: Train) -> torch.optim.Optimizer:
    """Adam or SGD (momentum 0.9) over what trains; each network's rate has its own factor."""
    groups = []
    for name, network in [*method.networks.items(), *method.helpers.items()]:
        trained = [p for p in network.parameters() if p.requires_grad]
        if trained:
            groups.append({"params": trained, "scale": method.lr_scale(name)})
    if cfg.optimizer == "adam":
        return torch.optim.Adam(groups, cfg.lr, weight_decay=cfg.weight_decay, fused=True)
    return torch.optim.SGD(groups, cfg.lr, momentum=0.9, weight_decay=cfg.weight_decay, fused=True)


def fit(method, loader: Loader, cfg: Train, steps: int, work: Work) -> dict[str, Any]:
    """Train `method.networks` in place on `steps` batches; returns what metrics.json should say of it.

    Resumes from `work`'s checkpoint if there is one. Raises UserError if the loss stops being a
    number (naming the step and the last good checkpoint), or, with `cfg.strict`, on collapse.
    """
    device, rank, world = loader.device, loader.rank, loader.world
    work.provenance["precision"] = in_force(cfg.precision, device)
    method.begin()
    objective = Objective(method).to(device, memory_format=torch.channels_last).train()
    if world > 1:
        objective = synchronise(objective, device)
        # The method holds its networks by name: point it at the converted ones.
        method.networks, method.helpers = dict(objective.networks), dict(objective.helpers)
    trained = objective
    if world > 1:
        trained = nn.parallel.DistributedDataParallel(
            objective, find_unused_parameters=True, broadcast_buffers=False
        )
    optimizer = optimiser(method, cfg)
    total = steps // cfg.accumulate
    if total == 0:
        raise UserError(
            f"train.accumulate: found {cfg.accumulate}; "
            f"allowed: at most the {steps} steps that there are"
        )
    images = cfg.accumulate * loader.batch * world  # per update
    state = State(objective, optimizer, work, rank)
    update = state.resume(device)
    first = update
    if update and rank == 0:
        print(f"resuming at update {update} of {total}", flush=True)
    progress = Progress(total, update, work.out, quiet=rank > 0)
    # Only the last epoch describes the result.
    tail = total - max(1, loader.steps // cfg.accumulate)
    batches = loader.run(update * cfg.accumulate, total * cfg.accumulate)
    watch = CollapseWatch(method.normalised, cfg.strict, work, rank)
    losses, saved = [], time.monotonic()
    began = time.monotonic()

    while update < total:
        rate = learning_rate(update, total, cfg)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        for micro in range(cfg.accumulate):
            views, labels = next(batches)
            waits = world > 1 and micro + 1 < cfg.accumulate  # gradients travel once per update
            with trained.no_sync() if waits else contextlib.nullcontext():
                with autocast(device, cfg.precision):
                    step = update * cfg.accumulate + micro
                    loss, parts, outputs, targets = trained(views, labels, step)
                (loss / cfg.accumulate).backward()
            losses.append(loss.detach())
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        update += 1
        method.after_update(update / total)

        if update % FLUSH == 0 or update == total:
            mean = _mean_or_stop(losses, update, cfg.accumulate, state)
            losses = []
            row = {"loss": mean, **{k: float(v.detach()) for k, v in parts.items()}}
            row |= _measures(method, outputs, targets)
            watch.at(update, row)
            if update > tail:
                state.tail.append(row)
            if rank == 0:
                work.log(update=update, lr=rate, seconds=round(time.monotonic() - began, 2),
                         images=update * images, **row)  # fmt: skip
            progress.at(update, mean, row)
            if update < total and time.monotonic() - saved >= 60 * cfg.checkpoint_minutes:
                state.save(update)
                saved = time.monotonic()
    progress.close()
    # Of a run in one go; of a resumed one nobody knows.
    work.provenance["training_seconds"] = None if first else round(time.monotonic() - began, 1)
    return _summary(state.tail, total, total * images, method.normalised, loader.batch)


class State:
    """What a checkpoint holds: everything that the rest of the run depends on."""

    def __init__(self, objective: nn.Module, optimizer, work: Work, rank: int):
        self.objective, self.optimizer, self.rank = objective, optimizer, rank
        self.path, self.log = work.path(CHECKPOINT), work.path(LOG)
        self.tail: list[dict[str, float]] = []
        self.last = 0

    def save(self, update: int) -> None:
        """Write the checkpoint, whole or not at all."""
        self.last = update
        if self.rank > 0:
            return
        temporary = self.path.with_suffix(".tmp")
        torch.save(
            {
                "update": update,
                "objective": self.objective.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "tail": self.tail,
                "log_bytes": self.log.stat().st_size if self.log.exists() else 0,
            },
            temporary,
        )
        os.replace(temporary, self.path)

    def resume(self, device: torch.device) -> int:
        """Load the checkpoint if there is one; returns the update to go on with."""
        if not self.path.exists():
            self.log.unlink(missing_ok=True)
            return 0
        state = torch.load(self.path, map_location=device, weights_only=True)
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.tail, self.last = state["tail"], state["update"]
        if self.log.exists() and self.rank == 0:  # rows after the checkpoint come again
            os.truncate(self.log, min(state["log_bytes"], self.log.stat().st_size))
        return self.last


class CollapseWatch:
    """Warns once, as soon as two looks in a row find a collapse; with `strict`, stops the run."""

    def __init__(self, normalised: bool, strict: bool, work: Work, rank: int):
        self.normalised, self.strict, self.work, self.rank = normalised, strict, work, rank
        self.before = self.warned = False

    def at(self, update: int, row: dict[str, float]) -> None:
        now = collapse.collapsed(row, self.normalised)
        if now and self.before and not self.warned:
            line = (
                f"{self.work.out}: collapsed at update {update} "
                f"({', '.join(collapse.kinds(row, self.normalised))}): output spread "
                f"{row['output_spread']:.3f}, information {row['output_information']:.4f} nats; "
                f"expected a spread of at least {collapse.MIN_SPREAD}"
                + ("" if self.normalised else f" and {collapse.MIN_INFORMATION} nats")
            )
            if self.strict:
                raise UserError(f"{line} (train.strict is true)")
            if self.rank == 0:
                print(f"warning: {line}", flush=True)
            self.warned = True
        self.before = now


def _mean_or_stop(losses: list[Tensor], update: int, accumulate: int, state: State) -> float:
    values = torch.stack(losses).float().cpu()
    bad = (~values.isfinite()).nonzero()
    if len(bad):
        at = update - (len(losses) - int(bad[0]) - 1) // accumulate
        where = f"{state.path} (update {state.last})" if state.last else "none yet"
        raise UserError(
            f"training: found loss {float(values[bad[0]])} at update {at}; expected a number "
            f"(lower train.lr, or precision: fp32); last good checkpoint: {where}"
        )
    return float(values.mean())


def _measures(method, outputs: Tensor | None, targets: Tensor | None) -> dict[str, float]:
    row = {}
    for prefix, tensor in (("output", outputs), ("target", targets)):
        if tensor is not None:
            values = collapse.measures(tensor.detach(), method.temperature)
            row |= {f"{prefix}_{k}": v for k, v in values.items()}
    return row


def _summary(
    tail: list[dict], total: int, images: int, normalised: bool, batch: int = 0
) -> dict[str, Any]:
    """Means over the last epoch; collapse is a state, so its measures are those of the last looks."""
    out: dict[str, Any] = {"updates": total, "images_seen": images}
    for key in tail[-1] if tail else ():
        rows = tail[-2:] if key.startswith(("output_", "target_")) else tail
        out[key] = round(sum(row[key] for row in rows) / len(rows), 6)
    found = collapse.kinds(out, normalised, batch)
    return out | {"collapsed": collapse.collapsed(out, normalised), "collapse": found}
