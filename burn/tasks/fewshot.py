"""Few-shot classification: linear SVMs on frozen features, from k positive images of each class.

The protocol of Goyal et al. (ICCV 2019), which the released recipe follows: features are divided by
their length; for each class an SVM (squared hinge, L2, positives weigh twice as much) tells k
images of it from those drawn for the other classes; mean average precision on the test split, for
each k the mean over five drawings. The publications print a figure for each k and no single one:
the headline `map` here is their mean over all k, the curve's height on a logarithmic axis.

The cost is chosen by cross-validation on the images drawn, one for all classes. One positive
(k = 1) cannot be divided: there it is the middle of the grid.
"""

from typing import Annotated

from pydantic import Field

from burn.errors import UserError
from burn.evaluation.scores import Scores
from burn.experiment.schema import AtLeastOne, Positive, Strict


class Options(Strict):
    k: Annotated[list[AtLeastOne], Field(min_length=1)] = [1, 2, 4, 8, 16, 32, 64, 96]
    samples: AtLeastOne = 5  # drawings for each k
    costs: Annotated[list[Positive], Field(min_length=1)] = [1.0, 10.0, 100.0]
    folds: Annotated[int, Field(ge=2)] = 3  # of the cross-validation, as far as positives go
    positive_weight: Positive = 2.0
    max_iter: AtLeastOne = 2000
    size: AtLeastOne | None = None  # side in pixels; null: as the data set is kept


def examine(network, data, options, seed, device, workers=0) -> Scores:
    """For each k the mean over drawings of the mean average precision on the test split, map_k<k>,
    and its standard deviation, map_k<k>_std; `map` and map_std: of their mean over all k.

    A class that has fewer than k images gives all it has: `notes.short` says for which k, how many
    classes, and what the fewest are. `notes.costs` are the costs chosen, drawing by drawing.

    Args:
        network: frozen, (N, 3, S, S) -> (N, D). data: burn.images.store.Data, of one class in an
            image or of several. Raises UserError if fewer than two classes have training images.
    """
    import warnings

    import numpy as np
    import torch
    from sklearn.exceptions import ConvergenceWarning
    from tqdm import tqdm

    from burn.evaluation.features import average_precision, check_positives, features, part

    size = options.size or data.size
    train, test = data.split("train"), data.split("test")
    has, truth = (hot(s.labels, len(data.classes)) for s in (train, test))
    check_positives(has, truth, data.classes, "fewshot")
    there = (has == 1).any(0)
    if there.sum() < 2:
        raise UserError("task fewshot: found training images of one class; expected two classes")
    # A large set is not needed whole: only what the largest k draws.
    needed = [np.concatenate([rows for rows, _ in problems(has, max(options.k), [seed, s])])
              for s in range(options.samples)]  # fmt: skip
    needed = np.unique(np.concatenate(needed))
    x, query = (
        torch.nn.functional.normalize(features(network, s, size, device, workers))
        .cpu().double().numpy() for s in (part(train, torch.from_numpy(needed)), test)
    )  # fmt: skip
    precision = np.empty((len(options.k), options.samples))
    costs, jobs = [], [(i, s) for i in range(len(options.k)) for s in range(options.samples)]
    for i, s in tqdm(jobs, desc="few-shot", unit="drawing", disable=None, leave=False):
        sets = problems(has, options.k[i], [seed, s])
        sets = [(np.searchsorted(needed, rows), y) for rows, y in sets]
        with warnings.catch_warnings():  # the recipe stops at max_iter, converged or not
            warnings.simplefilter("ignore", ConvergenceWarning)
            scores, cost = svms(x, sets, query, options, seed)
        costs.append(cost)
        # A class nobody could train on scores all images alike.
        precision[i, s] = np.nanmean(average_precision(scores, truth))
    short = {
        str(k): {"classes": int((n < k).sum()), "fewest": int(n.min())}
        for k in options.k
        if (n := (has == 1).sum(0)[there]).min() < k
    }
    chosen = {str(k): costs[i * options.samples :][: options.samples]
              for i, k in enumerate(options.k)}  # fmt: skip
    drawn = {f"map_k{k}": row for k, row in zip(options.k, precision)} | {"map": precision.mean(0)}
    spread = {name: round(float(row.std(ddof=1)), 4) for name, row in drawn.items() if len(row) > 1}
    return Scores(
        "map",
        {name: round(float(row.mean()), 4) for name, row in drawn.items()},
        spread,
        notes={"costs": chosen, "short": short},
    )


def hot(labels, classes: int):
    """Labels, (N,) or multi-hot (N, classes), as a multi-hot NumPy array, uint8 (N, classes)."""
    import numpy as np

    labels = labels.numpy()
    return labels if labels.ndim == 2 else (labels[:, None] == np.arange(classes)).astype(np.uint8)


def problems(has, k: int, key: list[int]) -> list[tuple]:
    """For each class (rows, y): the images, int64 (n,), its SVM learns from, and which have it.

    Positives are k images drawn of the class, or all it has; negatives those drawn for the other
    classes, as far as they do not show it. What a smaller k draws is part of what a larger one does.

    Args:
        has: uint8 (N, C): 1 where an image shows a class, 0 where not, else UNSURE: it is neither.
        key: what the drawing depends on.
    """
    import numpy as np

    rng = np.random.default_rng(key)
    drawn = [rng.permutation(np.flatnonzero(column == 1))[:k] for column in has.T]
    every = np.unique(np.concatenate(drawn))
    out = []
    for c, positive in enumerate(drawn):
        negative = every[has[every, c] == 0]
        rows = np.concatenate([positive, negative])
        out.append((rows, np.arange(len(rows)) < len(positive)))
    return out


def svms(x, sets: list[tuple], query, options: Options, seed: int):
    """Scores (M, C) of `query` (M, D) by an SVM per class, and the cost that was chosen for them.

    Args:
        x: (N, D) training features. sets: the result of `problems`.
    """
    import numpy as np
    import torch
    from joblib import Parallel, delayed

    # Not threads: they would share liblinear's one generator, and no run would repeat another.
    processes = Parallel(torch.get_num_threads())
    costs = sorted(options.costs)
    cost = costs[len(costs) // 2]
    if len(costs) > 1:
        jobs = (delayed(crossed)(x[rows], y, costs, options, seed) for rows, y in sets)
        curves = [row for row in processes(jobs) if row is not None]
        if curves:
            cost = costs[int(np.mean(curves, 0).argmax())]  # of equal ones the lowest

    def score(rows, y):
        if y.all() or not y.any():
            return np.zeros(len(query))
        return svm(cost, options, seed).fit(x[rows], y).decision_function(query)

    return np.stack(processes(delayed(score)(*one) for one in sets), axis=1), cost


def svm(cost: float, options: Options, seed: int):
    """One class against the rest."""
    from sklearn.svm import LinearSVC

    weight = {True: options.positive_weight, False: 1.0}
    return LinearSVC(
        C=cost, class_weight=weight, max_iter=options.max_iter, dual="auto", random_state=seed
    )


def crossed(x, y, costs: list[float], options: Options, seed: int):
    """Average precision at each cost on the folds left out, or None if they cannot be filled."""
    import numpy as np
    from sklearn.metrics import average_precision_score
    from sklearn.model_selection import StratifiedKFold

    folds = min(options.folds, int(y.sum()), int((~y).sum()))
    if folds < 2:
        return None
    out = np.zeros(len(costs))
    for fit, held in StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y):
        for i, cost in enumerate(costs):  # cross_val_score takes a fifth longer
            scores = svm(cost, options, seed).fit(x[fit], y[fit]).decision_function(x[held])
            out[i] += average_precision_score(y[held], scores) / folds
    return out
