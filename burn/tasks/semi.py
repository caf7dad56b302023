"""Semi-supervised fine-tuning: the whole network on a small part of the labels.

The released recipe: SGD (momentum 0.9), batch 256, 20 epochs, x0.2 at 12 and 16, the best of a grid
of learning rates and of factors of the classifier's own rate; random crops and flips. Where the
grid's points are compared the release does not say: here on images held out of the labelled part,
never on the test set; the best one is then trained again on all of the labelled part.

The network keeps its precision: a binary one is binary at every update, and its real-valued weights
are only what the optimiser moves. Batch norm is trained along.
"""

from typing import Annotated

from pydantic import Field

from burn.errors import UserError
from burn.evaluation.scores import Scores
from burn.experiment.schema import (
    Arithmetic,
    AtLeastOne,
    Augment,
    Count,
    NonNegative,
    Positive,
    Share,
    Strict,
    Unit,
)

NEEDS = "class"


class Options(Strict):
    fraction: Annotated[Positive, Field(le=1)] = 0.1  # of the training labels
    lr: Annotated[list[Positive], Field(min_length=1)] = [0.1, 0.01, 0.001]
    head: Annotated[list[Positive], Field(min_length=1)] = [1.0, 10.0, 100.0]
    held_out: Annotated[Positive, Field(lt=1)] = 0.2  # of the labelled images, to choose lr, head
    epochs: AtLeastOne = 20
    batch: AtLeastOne = 256
    milestones: list[Count] = [12, 16]
    factor: Unit = 0.2  # of the rates at each milestone
    weight_decay: NonNegative = 0.0
    crop: Share = [0.08, 1.0]
    size: AtLeastOne | None = None  # side in pixels; null: as the data set is kept
    precision: Arithmetic = "auto"


def examine(network, data, options, seed, device, workers=0) -> Scores:
    """Top-1 and Top-5 on the test split after fine-tuning on `fraction` of the training labels.

    `arrays` has the labelled images' indices, `notes` the point of the grid that was chosen and the
    held-out accuracy of each, in percent. Raises UserError if the labels leave no image
    to hold out, or if every point of the grid diverges.

    Args:
        network: (N, 3, S, S) -> (N, D), D in its attribute `dim`. data: burn.images.store.Data.
    """
    from burn.evaluation.features import part

    train, test = data.split("train"), data.split("test")
    rows = labelled(train.labels, options.fraction, seed)
    fit_rows, held_rows = hold_out(train.labels, rows, options.held_out)
    grid = [(lr, head) for lr in options.lr for head in options.head]
    if len(grid) > 1 and not len(held_rows):
        raise UserError(
            f"task semi: fraction: found {options.fraction}, one image of each class; allowed: more, "
            "or a single lr and head, so that nothing is to be chosen"
        )
    run = Run(network, len(data.classes), options.size or data.size, options, seed, device, workers)
    held = {}
    if len(grid) > 1:
        run.expect([len(fit_rows)] * len(grid) + [len(rows)])
        held = run.compare(grid, part(train, fit_rows), part(train, held_rows))
    else:
        run.expect([len(rows)])
    # The best on the held-out images that does not diverge on all of the labelled ones.
    order = sorted(held, key=lambda point: held[point], reverse=True) if len(grid) > 1 else grid
    models = ((point, run.tune(part(train, rows), point)) for point in order)
    point, model = next(((p, m) for p, m in models if m is not None), (None, None))
    run.progress.close()
    if model is None:
        raise UserError(
            f"task semi: lr: found {options.lr} with head {options.head}: the loss was no number "
            "with any of them; expected lower ones, or precision: fp32"
        )
    top = run.scores(model, test).topk(min(5, len(data.classes)), dim=1).indices
    top = top == test.labels.to(device)[:, None]
    return Scores(
        "top1",
        {
            "top1": round(100 * float(top[:, 0].float().mean()), 4),
            "top5": round(100 * float(top.any(1).float().mean()), 4),
        },
        correct=top[:, 0].tolist(),
        arrays={"labelled": rows.int().numpy()},
        notes={
            "labelled": len(rows),
            "lr": point[0],
            "head": point[1],
            "held_out": {f"{lr:g} x {h:g}": round(100 * held[lr, h][0], 4) for lr, h in held},
        },
    )


def labelled(labels, fraction: float, seed: int):
    """Indices, rising, int64 (n,), of the part of (N,) `labels` that is used: equally many of each
    class (fraction * N / classes, at least 1, at most what there is), drawn by `seed`.

    A smaller fraction's images are among those of a larger one.
    """
    import torch

    classes = labels.unique().tolist()
    each = max(1, round(fraction * len(labels) / len(classes)))
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    return torch.cat([order[labels[order] == c][:each] for c in classes]).sort().values


def hold_out(labels, rows, share: float):
    """Part `rows` in two, class by class: those to train on, and about `share` of them held out.

    A class with two images or more has some in both; one with a single image trains on it.
    """
    import torch

    held = torch.zeros(len(rows), dtype=torch.bool)
    for c in labels[rows].unique():
        (own,) = (labels[rows] == c).nonzero(as_tuple=True)
        count = min(max(1, round(share * len(own))), len(own) - 1)
        held[own[torch.linspace(0, len(own) - 1, count).long()]] = True
    return rows[~held], rows[held]


def batch_of(images: int, most: int) -> int:
    """The size, at most `most`, of equal batches that leave few of so many images out."""
    return max(2, images // -(-images // most))


class Run:
    """Fine-tunings of one network, one after the other, under one progress bar."""

    def __init__(self, network, classes: int, size: int, options: Options, seed: int, device,
                 workers: int):  # fmt: skip
        self.network, self.classes, self.size, self.options = network, classes, size, options
        self.seed, self.device, self.workers = seed, device, workers
        self.done, self.progress = 0, None

    def expect(self, runs: list[int]) -> None:
        """Say on how many images each fine-tuning to come will be."""
        from burn.progress import Progress

        steps = (images // batch_of(images, self.options.batch) for images in runs)
        self.progress = Progress(self.options.epochs * sum(steps), 0, "fine-tune")

    def compare(self, grid, split, held) -> dict[tuple[float, float], tuple[float, float]]:
        """point -> (accuracy, minus the loss) on `held` after training on `split`.

        Points that diverge are left out.
        """
        from torch.nn.functional import cross_entropy

        results, truth = {}, held.labels.to(self.device)
        for point in grid:
            model = self.tune(split, point)
            if model is not None:
                scores = self.scores(model, held)
                right = float((scores.argmax(1) == truth).float().mean())
                results[point] = right, -float(cross_entropy(scores, truth))
        return results

    def scores(self, model, split):
        """(N, classes) scores of whole images by a (network, classifier)."""
        from burn.evaluation.features import features

        network, head = model
        return head(features(network, split, self.size, self.device, workers=self.workers))

    def tune(self, split, point: tuple[float, float]):
        """Train a copy of the network and a linear classifier on `split`, all of it labelled.

        Returns both in eval mode, or None if the loss stops being a number. `point` is the learning
        rate and the factor of the classifier's own.
        """
        import copy

        import torch
        from torch import nn

        from burn.evaluation.sgd import SGD
        from burn.images.loader import Loader
        from burn.networks.arithmetic import autocast

        o, device = self.options, self.device
        network = copy.deepcopy(self.network).requires_grad_(True).train()
        network = network.to(memory_format=torch.channels_last)
        head = nn.Linear(network.dim, self.classes, device=device)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        groups = [(network.parameters(), point[0]), (head.parameters(), point[0] * point[1])]
        optimizer = SGD(groups, o.weight_decay)
        augment = Augment(size=self.size, crop=o.crop)
        batch = batch_of(len(split), o.batch)
        loader = Loader(split, augment, batch, 0, self.seed, device, self.workers)
        batches = loader.run(0, o.epochs * loader.steps)
        for epoch in range(o.epochs):
            factor = o.factor ** sum(epoch >= m for m in o.milestones)
            for _ in range(loader.steps):
                (x,), y = next(batches)
                with autocast(device, o.precision):
                    scores = head(network(x))
                loss = nn.functional.cross_entropy(scores.float(), y)
                loss.backward()
                optimizer.step(factor)
            if not head.weight.isfinite().all():
                return None
            self.done += loader.steps
            self.progress.at(self.done, float(loss.detach()), {})
        return network.eval().requires_grad_(False), head.requires_grad_(False)
