"""Linear evaluation: a linear classifier on frozen features, and a k-NN vote beside it.

The classifier follows the released recipe (SGD, momentum 0.9, lr 0.01, batch 256, 100 epochs,
x0.1 at 60 and 80). The weighted k-NN vote (Wu et al., CVPR 2018; temperature 0.1) needs no tuning.
On a set with several classes in an image (VOC) there is a logistic regression for each class
instead, scored by mean average precision, and no vote. Some test images and their nearest training
images are kept for the report.
"""

from typing import Annotated

from pydantic import Field

from burn.evaluation.scores import Scores
from burn.experiment.schema import AtLeastOne, Augment, Count, NonNegative, Positive, Strict

QUERIES, NEIGHBOURS, SIDE = 6, 5, 64  # kept for the report; their side in pixels, at most


class Options(Strict):
    epochs: AtLeastOne = 100
    batch: AtLeastOne = 256
    lr: Positive = 0.01
    weight_decay: NonNegative = 0.0
    milestones: list[Count] = [60, 80]
    size: AtLeastOne | None = None  # side in pixels; null: as the data set is kept
    crops: Count = 0  # training views: 0, whole images once; n, a new random crop for n epochs
    standardise: bool = True
    knn: Annotated[list[AtLeastOne], Field(min_length=1)] = [20, 200]
    knn_temperature: Positive = 0.1


def examine(network, data, options, seed, device, workers=0) -> Scores:
    """Top-1, Top-5 of a linear classifier and Top-1 of k-NN votes on the test split, in percent;
    `correct`: for each test image, whether the classifier's first guess is right; `arrays`: some test
    images and their nearest training images (see `neighbours`).

    With multi-hot labels: the mean average precision (`map`), and that of each class in `notes`; of
    those that have a positive to test on. Raises UserError if none has.

    Args:
        network: frozen, (N, 3, S, S) -> (N, D). data: burn.images.store.Data.
    """
    from burn.evaluation.features import check_positives, features, knn

    size = options.size or data.size
    train, test = data.split("train"), data.split("test")
    if train.labels.dim() == 2:
        check_positives(train.labels, test.labels, data.classes, "linear")
    plain = features(network, train, size, device, workers)
    query = features(network, test, size, device, workers)
    labels, truth = train.labels.to(device), test.labels.to(device)
    epochs = [plain]
    if options.crops:
        augment = Augment(size=size)
        epochs = (
            features(network, train, size, device, workers, augment, seed, e)
            for e in range(options.crops)
        )
        epochs = list(epochs) if options.crops < options.epochs else epochs
    scores = linear(plain, epochs, labels, query, len(data.classes), options, seed)
    if labels.dim() == 2:
        return precisions(scores, truth, data.classes)
    top = scores.topk(min(5, scores.shape[1]), dim=1).indices == truth[:, None]
    right = {"top1": top[:, 0], "top5": top.any(1)}
    nearest = {k: min(k, len(plain)) for k in options.knn}
    votes = knn(plain, labels, query, set(nearest.values()), options.knn_temperature)
    right |= {f"knn{k}": votes[n] == truth for k, n in nearest.items()}
    values = {name: round(100 * float(each.float().mean()), 4) for name, each in right.items()}
    arrays = neighbours(plain, train, query, test, data.size)
    return Scores("top1", values, correct=top[:, 0].tolist(), arrays=arrays)


def neighbours(plain, train, query, test, size: int) -> dict:
    """A test image of each of some classes and the training images nearest to it by cosine.

    `neighbours`: their picture (burn.evaluation.pictures), a line of 1 + NEIGHBOURS squares each; `labels`: (Q, 1
    + NEIGHBOURS), their classes.
    """
    import torch
    import torch.nn.functional as F

    from burn.evaluation.features import pictures
    from burn.evaluation.pictures import encode, spaced

    known = test.labels.unique().tolist()
    chosen = torch.stack([(test.labels == c).nonzero()[0, 0] for c in spaced(known, QUERIES)])
    bank, wanted = F.normalize(plain, dim=1), F.normalize(query[chosen.to(query.device)], dim=1)
    rows = (wanted @ bank.t()).topk(min(NEIGHBOURS, len(bank)), dim=1).indices.cpu()
    side = min(size, SIDE)
    squares = pictures(train, rows.flatten(), side).unflatten(0, rows.shape)
    squares = torch.cat([pictures(test, chosen, side)[:, None], squares], 1)
    mosaic = squares.permute(2, 0, 3, 1, 4).reshape(3, len(chosen) * side, -1)
    labels = torch.cat([test.labels[chosen][:, None], train.labels[rows]], 1)
    return {"neighbours": encode(mosaic), "labels": labels.to(torch.int16).numpy()}


def precisions(scores, truth, classes: list[str]) -> Scores:
    """`map`, and the average precision of each class, of (M, C) scores for multi-hot truth."""
    from burn.evaluation.features import average_precision

    each = average_precision(scores.cpu().numpy(), truth.cpu().numpy())
    each = {c: round(float(v), 4) for c, v in zip(classes, each) if v == v}
    mean = round(sum(each.values()) / len(each), 4)
    return Scores("map", {"map": mean}, notes={"average_precision": each})


def linear(plain, epochs, labels, query, classes: int, options: Options, seed: int):
    """Train the classifier; returns its (M, classes) scores of `query`.

    Args:
        plain: (N, D) features of whole training images, for the scale of each dimension.
        epochs: (N, D) training features, one entry an epoch, used in turn and again.
        labels: int64 (N,), or multi-hot (N, classes) with UNSURE where a class teaches nothing.
        query: (M, D) test features.
    """
    import torch
    import torch.nn.functional as F
    from torch import nn

    from burn.evaluation.sgd import SGD
    from burn.images.decode import UNSURE

    generator = torch.Generator().manual_seed(seed)
    mean, deviation = plain.new_zeros(()), plain.new_ones(())
    if options.standardise:
        mean, deviation = plain.mean(0), plain.std(0).clamp_min(1e-6)
    head = nn.Linear(plain.shape[1], classes, device=plain.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = SGD([(head.parameters(), options.lr)], options.weight_decay)
    if labels.dim() == 2:  # each class its own problem, at the recipe's rate: a sum over classes
        known, labels = (labels != UNSURE).float(), (labels == 1).float()
    cached = epochs if isinstance(epochs, list) else None
    for epoch in range(options.epochs):
        factor = 0.1 ** sum(epoch >= m for m in options.milestones)
        features = cached[epoch % len(cached)] if cached else next(epochs)
        for rows in torch.randperm(len(features), generator=generator).split(options.batch):
            rows = rows.to(features.device)
            x = (features.index_select(0, rows) - mean) / deviation
            if labels.dim() == 2:
                loss = F.binary_cross_entropy_with_logits(
                    head(x), labels[rows], known[rows], reduction="sum"
                )
                loss = loss / len(rows)
            else:
                loss = F.cross_entropy(head(x), labels[rows])
            loss.backward()
            optimizer.step(factor)
    with torch.no_grad():
        return head((query - mean) / deviation)
