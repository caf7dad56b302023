"""Few-shot SVMs: what they are shown, against scikit-learn used directly, and how they are chosen."""

import numpy as np
import pytest
import torch
from pixels import CLASSES, CPU, Pixels, arrays, gaussian_data
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import LinearSVC
from told import told

from burn.errors import UserError
from burn.tasks.fewshot import Options, crossed, examine, hot, problems, svms

QUICK = {"k": [1, 2, 4], "samples": 2, "costs": [1.0, 10.0], "max_iter": 200}


def run(data, network=None, seed=0, **options):
    return told(examine(network or Pixels(), data, Options(**QUICK | options), seed, CPU))


def multilabel(data):
    """The same images, each of its class and of the next one."""
    for split in data.splits.values():
        both = torch.eye(CLASSES, dtype=torch.uint8)
        split.labels = both[split.labels] | both[(split.labels + 1) % CLASSES]
    return data


def test_the_recipe_is_the_default():
    o = Options()
    assert (o.k, o.samples, o.costs) == ([1, 2, 4, 8, 16, 32, 64, 96], 5, [1, 10, 100])
    assert (o.positive_weight, o.max_iter) == (2, 2000)


@pytest.mark.parametrize("several", [False, True])
def test_k_positives_of_each_class_and_no_negative_that_shows_it(several):
    data = gaussian_data(30, 160, 8)
    has = hot((multilabel(data) if several else data).split("train").labels, CLASSES)
    assert has.sum(1).tolist() == [1 + several] * 160
    before = [set()] * CLASSES
    for k in (1, 3, 8):
        sets = problems(has, k, [0, 1])
        positives = [set(rows[y].tolist()) for rows, y in sets]
        drawn = set().union(*positives)
        for c, (rows, y) in enumerate(sets):
            assert len(rows) == len(set(rows.tolist())) and has[rows[y], c].all()
            assert len(positives[c]) == k and before[c] <= positives[c]
            shown = {i for i in drawn if has[i, c]}  # or may be
            assert set(rows[~y].tolist()) == drawn - shown
        before = positives
    again, other = problems(has, 8, [0, 1]), problems(has, 8, [0, 2])
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(sets, again))
    assert not all(np.array_equal(a[0], b[0]) for a, b in zip(sets, other))


def test_an_image_that_may_show_a_class_is_neither_positive_nor_negative_for_it():
    has = hot(multilabel(gaussian_data(30, 60, 8)).split("train").labels, CLASSES).copy()
    unsure = np.flatnonzero(has[:, 0] == 0)[:20]
    has[unsure, 0] = 255
    (rows, y), *others = problems(has, 30, [0, 0])
    assert not set(rows.tolist()) & set(unsure.tolist()) and y.any() and not y.all()
    assert any(set(rows[y].tolist()) & set(unsure.tolist()) for rows, y in others)


@pytest.mark.parametrize("several", [False, True])
def test_scores_are_those_of_scikit_learn_by_hand(several):
    data = gaussian_data(45, 160, 80)
    data = multilabel(data) if several else data
    found = run(data, k=[6], samples=2, costs=[10.0], max_iter=2000)
    x, query, labels, truth = arrays(data)
    x, query = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, query))
    has, truth = (hot(torch.from_numpy(a), CLASSES) for a in (labels, truth))
    means = []
    for sample in range(2):
        scores = []
        for c, (rows, y) in enumerate(problems(has, 6, [0, sample])):
            model = LinearSVC(C=10.0, loss="squared_hinge", penalty="l2", max_iter=2000,
                              class_weight={1: 2, 0: 1}, random_state=0)  # fmt: skip
            model.fit(x[rows], y.astype(int))
            scores.append(average_precision_score(truth[:, c], model.decision_function(query)))
        means.append(100 * np.mean(scores))
    assert found["map_k6"] == pytest.approx(np.mean(means), abs=0.05)
    assert found["map_k6_std"] == pytest.approx(np.std(means, ddof=1), abs=0.05)
    assert 15 < found["map"] == found["map_k6"] < 100


def test_map_is_the_mean_over_k_and_rises_with_k():
    found = run(gaussian_data(40, 400, 200), k=[1, 4, 16])
    per_k = [found[f"map_k{k}"] for k in (1, 4, 16)]
    assert found["map"] == pytest.approx(np.mean(per_k), abs=1e-3)
    assert per_k == sorted(per_k) and per_k[2] > per_k[0] + 5
    assert set(found) == {"map", "map_std", "notes"} | {
        f"map_k{k}{end}" for k in (1, 4, 16) for end in ("", "_std")
    }
    assert found["map_std"] > 0
    assert "map_std" not in run(gaussian_data(40, 80, 40), samples=1, k=[2])


def test_labels_that_say_nothing_give_the_share_of_positives():
    data = gaussian_data(45, 400, 800)
    for split in data.splits.values():
        split.labels = torch.randint(0, CLASSES, (len(split),))
    assert run(data)["map"] == pytest.approx(100 / CLASSES, abs=3)


def test_the_cost_is_chosen_without_the_test_set():
    data = gaussian_data(60, 80, 80)
    first = run(data, k=[1, 3], costs=[0.01, 1.0, 100.0])
    test = data.split("test")
    test.labels = (test.labels + 1) % CLASSES
    other = run(data, k=[1, 3], costs=[0.01, 1.0, 100.0])
    assert other["map"] != first["map"] and other["notes"] == first["notes"]
    test.images = 255 - test.images
    assert run(data, k=[1, 3], costs=[0.01, 1.0, 100.0])["notes"] == first["notes"]
    assert first["notes"]["costs"]["1"] == [1.0] * 2  # nothing to validate on: the middle


def test_the_cost_follows_the_cross_validation(monkeypatch):
    data = gaussian_data(60, 200, 100)
    x, query, labels, _ = arrays(data)
    sets = problems(hot(torch.from_numpy(labels), CLASSES), 6, [0, 0])
    monkeypatch.setattr(
        "burn.tasks.fewshot.crossed", lambda x, y, costs, *_: [50.0 * (c == 0.1) for c in costs]
    )
    scores, cost = svms(x, sets, query, Options(costs=[10.0, 0.1, 1.0]), 0)
    assert cost == 0.1
    monkeypatch.setattr("burn.tasks.fewshot.crossed", lambda x, y, costs, *_: [50.0] * 3)
    equal, cost = svms(x, sets, query, Options(costs=[10.0, 0.1, 1.0]), 0)
    assert cost == 0.1 and np.array_equal(equal, scores)


def test_cross_validation_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 4 == 0
    x = rng.normal(0, 1, (40, 10)) + y[:, None]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    found = crossed(x, y, [0.1, 100.0], Options(), 5)
    for cost, score in zip([0.1, 100.0], found, strict=True):
        model = LinearSVC(C=cost, class_weight={0: 1, 1: 2}, max_iter=2000, random_state=5)
        folds = StratifiedKFold(3, shuffle=True, random_state=5)
        expected = cross_val_score(model, x, y.astype(int), cv=folds, scoring="average_precision")
        assert score == pytest.approx(expected.mean(), abs=1e-6)
    assert found[0] != found[1]
    few = np.arange(40) < 2
    assert crossed(x, few, [1.0], Options(), 0) is not None  # two folds will do
    assert crossed(x, np.arange(40) < 1, [1.0], Options(), 0) is None


def test_a_class_with_fewer_images_gives_what_it_has_and_is_told():
    data = gaussian_data(40, 80, 80)
    train = data.split("train")
    kept = (train.labels != 3) | (torch.arange(80) == 3)
    train.images, train.labels = train.images[kept], train.labels[kept]
    found = run(data, k=[1, 4, 64])
    assert found["notes"]["short"] == {
        "4": {"classes": 1, "fewest": 1},
        "64": {"classes": CLASSES, "fewest": 1},
    }
    assert 0 < found["map_k64"] <= 100
    assert run(gaussian_data(40, 80, 80))["notes"]["short"] == {}


@pytest.mark.parametrize("name", ["train", "test"])
def test_nothing_positive_is_one_line(name):
    data = multilabel(gaussian_data(40, 60, 20))
    data.split(name).labels[:] = 255
    message = (
        f"protocols: fewshot: found no image of any class in the {name} split .*; allowed: some$"
    )
    with pytest.raises(UserError, match=message):
        run(data)


def test_a_class_without_images_is_left_out(capsys):
    data = gaussian_data(30, 80, 80)
    for split, gone in (("train", 0), ("test", 1)):
        split = data.split(split)
        kept = split.labels != gone
        split.images, split.labels = split.images[kept], split.labels[kept]
    assert 30 < run(data)["map"] <= 100
    assert capsys.readouterr().err == (
        "fewshot: no image in the train split, scored as by chance: class0\n"
        "fewshot: no image in the test split, left out of the mean: class1\n"
    )
    train = data.split("train")
    train.labels = torch.full_like(train.labels, 3)
    with pytest.raises(UserError, match="training images of one class"):
        run(data)


class Scaled(Pixels):
    """Pixels, each image's features times a number of its own."""

    def forward(self, x):
        return super().forward(x) * x.mean((1, 2, 3)).abs().add(0.1)[:, None]


def test_the_length_of_features_is_immaterial():
    data = gaussian_data(45, 80, 80)
    found = [run(data, network, k=[4])["map"] for network in (Scaled(), Pixels())]
    assert found[0] == pytest.approx(found[1], abs=0.02)


def test_deterministic_and_drawn_by_the_seed():
    data = gaussian_data(60, 80, 80)
    first = run(data, k=[3])
    assert first != run(data, k=[3], seed=1)
    torch.set_num_threads(2)
    assert run(data, k=[3]) == first
