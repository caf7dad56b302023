"""Semi-supervised fine-tuning: the whole network on a small part of the labels.

SGD (momentum 0.9) with random crops and flips; the released recipe counts 20 epochs of ImageNet's
1 % or 10 %, which on a small set are a few dozen updates, so here updates are counted. The classifier
starts from a linear probe of the frozen features (logistic regression on the labelled images).
Where the points of its grid (learning rate, factor of the classifier's own) are compared the release
does not say: here by cross-validation on the labelled part, never on the test set; the best one is
then trained on all of the labelled part.

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
    folds: Annotated[int, Field(ge=2)] = 3  # of the cross-validation that chooses lr and head
    rounds: AtLeastOne | None = None  # folds that are held out, one after the other; null: all
    updates: AtLeastOne = 500
    batch: AtLeastOne = 256  # at most; half of the labelled images if they are fewer
    milestones: list[Unit] = [0.6, 0.8]  # shares of the updates after which the rates fall
    factor: Unit = 0.2  # of the rates at each milestone
    weight_decay: NonNegative = 0.0
    crop: Share = [0.08, 1.0]
    size: AtLeastOne | None = None  # side in pixels; null: as the data set is kept
    precision: Arithmetic = "auto"


def examine(network, data, options, seed, device, workers=0) -> Scores:
    """Top-1 and Top-5 on the test split after fine-tuning on `fraction` of the training labels.

    `arrays` has the labelled images' indices, `notes` the point of the grid that was chosen and the
    cross-validated accuracy of each, in percent. Raises UserError if the labels leave no image
    to hold out, or if every point of the grid diverges.

    Args:
        network: (N, 3, S, S) -> (N, D), D in its attribute `dim`. data: burn.images.store.Data.
    """
    from burn.evaluation.features import part

    train, test = data.split("train"), data.split("test")
    classes = len(data.classes)
    rows = labelled(train.labels, options.fraction, seed)
    grid = [(lr, head) for lr in options.lr for head in options.head]
    folds = cross_validation(train.labels, rows, options.folds) if len(grid) > 1 else []
    folds = folds[: options.rounds]
    if len(grid) > 1 and not folds:
        raise UserError(
            f"task semi: fraction: found {options.fraction}, one image of each class; allowed: more, "
            "or a single lr and head, so that nothing is to be chosen"
        )
    run = Run(network, classes, options.size or data.size, options, seed, device, workers)
    run.expect(len(grid) * len(folds) + 1)
    held = run.compare(grid, train, folds)
    # The best on the held-out images that does not diverge on all of the labelled ones.
    order = sorted(held, key=lambda point: held[point], reverse=True) if folds else grid
    models = ((point, run.tune(part(train, rows), point)) for point in order)
    point, model = next(((p, m) for p, m in models if m is not None), (None, None))
    run.progress.close()
    if model is None:
        raise UserError(
            f"task semi: lr: found {options.lr} with head {options.head}: the loss was no number "
            "with any of them; expected lower ones, or precision: fp32"
        )
    top = run.scores(model, test).topk(min(5, classes), dim=1).indices
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


def cross_validation(labels, rows, folds: int) -> list:
    """(rows to train on, rows held out) pairs; each image is held out once, unless its class has no other.

    Folds are dealt class by class, so each has about as many of every class. None where no class
    has two images.
    """
    import torch

    fold = torch.full((len(rows),), -1)
    for c in labels[rows].unique():
        (own,) = (labels[rows] == c).nonzero(as_tuple=True)
        if len(own) > 1:
            fold[own] = torch.arange(len(own)) % folds
    return [(rows[fold != f], rows[fold == f]) for f in range(folds) if (fold == f).any()]


class Run:
    """Fine-tunings of one network, one after the other, under one progress bar."""

    def __init__(self, network, classes: int, size: int, options: Options, seed: int, device,
                 workers: int):  # fmt: skip
        self.network, self.classes, self.size, self.options = network, classes, size, options
        self.seed, self.device, self.workers = seed, device, workers
        self.done, self.progress = 0, None

    def expect(self, runs: int) -> None:
        """Say how many fine-tunings will come."""
        from burn.progress import Progress

        self.progress = Progress(self.options.updates * runs, 0, "fine-tune")

    def compare(self, grid, train, folds) -> dict[tuple[float, float], tuple[float, float]]:
        """point -> (accuracy, minus the loss), mean over all images that are held out.

        Points that diverge are left out.
        """
        import torch
        from torch.nn.functional import cross_entropy

        from burn.evaluation.features import part

        results = {}
        for point in grid if folds else ():
            scores, truth = [], []
            for own, held in folds:
                model = self.tune(part(train, own), point)
                if model is None:
                    break
                scores.append(self.scores(model, part(train, held)))
                truth.append(train.labels[held].to(self.device))
            else:
                scores, truth = torch.cat(scores), torch.cat(truth)
                right = float((scores.argmax(1) == truth).float().mean())
                results[point] = right, -float(cross_entropy(scores, truth))
        return results

    def scores(self, model, split):
        """(N, classes) scores of whole images by a (network, classifier)."""
        network, head = model
        return head(self.features(network, split))

    def features(self, network, split):
        from burn.evaluation.features import features

        return features(network, split, self.size, self.device, workers=self.workers)

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
        head = probe(self.features(self.network, split), split.labels, self.classes).to(device)
        network = copy.deepcopy(self.network).requires_grad_(True).train()
        network = network.to(memory_format=torch.channels_last)
        groups = [(network.parameters(), point[0]), (head.parameters(), point[0] * point[1])]
        optimizer = SGD(groups, o.weight_decay)
        augment = Augment(size=self.size, crop=o.crop)
        batch = min(o.batch, max(2, len(split) // 2))
        loader = Loader(split, augment, batch, 0, self.seed, device, self.workers)
        for update, ((x,), y) in enumerate(loader.run(0, o.updates)):
            factor = o.factor ** sum(update >= share * o.updates for share in o.milestones)
            with autocast(device, o.precision):
                scores = head(network(x))
            loss = nn.functional.cross_entropy(scores.float(), y)
            loss.backward()
            optimizer.step(factor)
            self.done += 1
            if self.done % 20 == 0:
                self.progress.at(self.done, float(loss.detach()), {})
        if not head.weight.isfinite().all():
            return None
        return network.eval().requires_grad_(False), head.requires_grad_(False)


def probe(features, labels, classes: int):
    """A linear classifier, (N, D) -> (N, classes) scores, fitted to frozen features.

    Logistic regression (scikit-learn's) on features that are centred and divided by one number, the
    root of their mean variance; the classifier does so, too. Features differ thirtyfold in size between
    methods, and where they are large every learning rate is too high. To divide each by its own
    deviation would let those that hardly vary outweigh the others as soon as the network moves.
    A class without an image gets the lowest bias and no weights: as the scores of the others add up
    to 0, its own is never the highest.
    """
    import numpy as np
    import torch
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits
    from torch import nn

    class Classifier(nn.Linear):
        def forward(self, features):
            return super().forward((features - self.mean) / self.scale)

    y = labels.cpu().numpy()
    head = Classifier(features.shape[1], classes)
    head.register_buffer("mean", features.mean(0))
    head.register_buffer("scale", features.var(0, correction=0).mean().sqrt() + 1e-6)
    x = ((features - head.mean) / head.scale).cpu().double().numpy()
    weight, bias = np.zeros((classes, x.shape[1])), np.full(classes, 0.0)
    known = np.unique(y)
    if len(known) > 1:
        # numpy's own threads would be as many as there are cores, whatever `machine.threads` says.
        with threadpool_limits(torch.get_num_threads(), "blas"):
            fitted = LogisticRegression(C=0.1, max_iter=500).fit(x, y)
        own, offset = fitted.coef_, fitted.intercept_
        if len(known) == 2:  # scikit-learn keeps one row for two classes
            own, offset = np.concatenate([-own, own]) / 2, np.concatenate([-offset, offset]) / 2
        weight[known], bias[known] = own, offset
        bias[np.setdiff1d(np.arange(classes), known)] = bias[known].min()
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))
    return head
