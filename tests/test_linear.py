"""Linear evaluation and the k-NN vote against scikit-learn and plain NumPy."""

import math

import numpy as np
import pytest
import torch
from pixels import CLASSES, CPU, SIDE, Pixels, Recorder, arrays, gaussian_data, several
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler
from told import told

import burn.evaluation.features
from burn.errors import UserError
from burn.evaluation.features import knn
from burn.evaluation.pictures import spaced
from burn.report.examples import decode
from burn.tasks.linear import Options, examine, linear


def run(data, seed=0, **options):
    return told(examine(Pixels(), data, Options(**options), seed, CPU))


@pytest.mark.parametrize(("noise", "images", "least"), [(15, 1600, 99), (40, 4000, 90)])
def test_accuracy_is_that_of_logistic_regression(noise, images, least):
    data = gaussian_data(noise, images, 1000)
    x, query, labels, truth = arrays(data)
    scale = StandardScaler().fit(x)
    model = LogisticRegression(max_iter=2000).fit(scale.transform(x), labels)
    expected = 100 * model.score(scale.transform(query), truth)
    found = run(data)
    assert found["top1"] > least
    assert found["top1"] == pytest.approx(expected, abs=1.5)
    assert found["top1"] <= found["top5"] <= 100
    assert set(found) == {"top1", "top5", "knn20", "knn200", "correct", "arrays"}


def test_labels_that_say_nothing_give_chance():
    data = gaussian_data(45)
    for split in data.splits.values():
        split.labels = torch.randint(0, CLASSES, (len(split),))
    found = run(data)
    assert found["top1"] == pytest.approx(100 / CLASSES, abs=5)
    assert found["top5"] == pytest.approx(500 / CLASSES, abs=7)
    assert found["knn20"] == pytest.approx(100 / CLASSES, abs=5)


def numpy_knn(bank, labels, query, k, temperature):
    bank, query = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (bank, query))
    found = []
    for row in query:
        cosine = bank @ row
        votes = np.zeros(labels.max() + 1)
        for i in np.argsort(-cosine)[:k]:
            votes[labels[i]] += math.exp(cosine[i] / temperature)
        found.append(votes.argmax())
    return np.array(found)


@pytest.mark.parametrize("temperature", [0.1, 0.01])
def test_knn_is_a_weighted_vote(temperature):
    x, query = torch.randn(60, 6), torch.randn(1100, 6)  # more queries than one part holds
    labels = torch.randint(0, 4, (60,))
    plain = (x.double().numpy(), labels.numpy(), query.double().numpy())
    expected = {k: numpy_knn(*plain, k, temperature).tolist() for k in (1, 7, 60)}
    for bank in (x, x * (0.1 + torch.rand(60, 1))):
        found = knn(bank, labels, query, expected.keys(), temperature)
        assert {k: vote.tolist() for k, vote in found.items()} == expected


def test_knn_of_an_examination():
    data = gaussian_data(45, 200, 100)
    x, query, labels, truth = arrays(data)
    found = run(data, epochs=1, knn=[5, 500], knn_temperature=0.5)
    for k, n in ((5, 5), (500, 200)):  # at most as many neighbours as there are images
        share = 100 * (numpy_knn(x, labels, query, n, 0.5) == truth).mean()
        assert found[f"knn{k}"] == pytest.approx(share, abs=1e-3)


def numpy_sgd(x, epochs, labels, query, options, seed):
    """The recipe by hand: softmax regression from zero, momentum 0.9, rate x0.1 at milestones."""
    mean, deviation = x.mean(0), x.std(0, ddof=1)
    query, *epochs = (np.c_[(a - mean) / deviation, np.ones(len(a))] for a in (query, *epochs))
    w, speed = np.zeros((CLASSES, x.shape[1] + 1)), 0.0
    decay = options.weight_decay
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(options.epochs):
        rate = options.lr * 0.1 ** sum(epoch >= m for m in options.milestones)
        order = torch.randperm(len(labels), generator=generator).numpy()
        x = epochs[epoch % len(epochs)]
        for start in range(0, len(x), options.batch):
            rows = order[start : start + options.batch]
            p = np.exp(x[rows] @ w.T)
            p /= p.sum(1, keepdims=True)
            p[np.arange(len(rows)), labels[rows]] -= 1
            speed = 0.9 * speed + p.T @ x[rows] / len(rows) + decay * w
            w = w - rate * speed
    return query @ w.T


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_classifier_follows_the_recipe(decay):
    x, query, labels, truth = arrays(gaussian_data(45, 100, 50))
    options = Options(epochs=6, batch=32, milestones=[2, 4], weight_decay=decay, lr=0.1)
    crops = [x, x + np.random.default_rng(1).normal(0, 0.1, x.shape), x[::-1].copy()]
    t = [torch.from_numpy(a).float() for a in (x, query, *crops)]
    truths = torch.from_numpy(labels)
    for some in (1, 3):
        expected = numpy_sgd(x, crops[:some], labels, query, options, 3)
        found = linear(t[0], t[2 : 2 + some], truths, t[1], CLASSES, options, 3)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-3)
        drawn = (crop for crop in 2 * t[2 : 2 + some] * (3 // some))  # a new one each epoch
        assert torch.equal(linear(t[0], drawn, truths, t[1], CLASSES, options, 3), found)

    expected = numpy_sgd(x, [x], labels, query, options, 3)
    top = np.argsort(-expected, axis=1)[:, :5] == truth[:, None]
    scores = told(examine(Pixels(), gaussian_data(45, 100, 50), options, 3, CPU))
    assert scores["top1"] == pytest.approx(100 * top[:, 0].mean(), abs=1e-3)
    assert scores["top5"] == pytest.approx(100 * top.any(1).mean(), abs=1e-3)
    assert scores["correct"] == top[:, 0].tolist()


def test_several_classes_in_an_image_are_logistic_regressions(monkeypatch):
    data, kept = several(gaussian_data(40, 1200, 400)), {}
    of_scores = burn.evaluation.features.average_precision

    def watched(scores, truth):
        kept["scores"] = scores, truth
        return of_scores(scores, truth)

    monkeypatch.setattr("burn.evaluation.features.average_precision", watched)
    found = run(data)
    scores, truth = kept["scores"]
    per_class = 100 * average_precision_score(truth, scores, average=None)
    assert found["map"] == pytest.approx(per_class.mean(), abs=1e-3)
    expected = dict(zip(data.classes, per_class, strict=True))
    assert found["notes"]["average_precision"] == pytest.approx(expected, abs=1e-3)
    assert set(found) == {"map", "notes"}

    x, query, labels, truth = arrays(data)
    assert np.array_equal(kept["scores"][1], truth)
    scale = StandardScaler().fit(x)
    models = OneVsRestClassifier(LogisticRegression(max_iter=2000)).fit(scale.transform(x), labels)
    best = 100 * average_precision_score(truth, models.decision_function(scale.transform(query)))
    assert found["map"] == pytest.approx(best, abs=2) and best > 60


def test_a_class_without_a_positive_is_left_out_and_told(capsys):
    data = several(gaussian_data(40, 200, 80))
    data.split("test").labels[:, 3] = 255  # difficult objects alone
    data.split("test").labels[:, 5] = 0
    data.split("train").labels[:, 1] = 0
    found = run(data, epochs=3)
    each = found["notes"]["average_precision"]
    assert list(each) == [f"class{c}" for c in range(CLASSES) if c not in (3, 5)]
    assert found["map"] == pytest.approx(sum(each.values()) / len(each), abs=1e-3)
    assert capsys.readouterr().err == (
        "linear: no image in the train split, scored as by chance: class1\n"
        "linear: no image in the test split, left out of the mean: class3, class5\n"
    )


@pytest.mark.parametrize("name", ["train", "test"])
@pytest.mark.parametrize("value", [0, 255])
def test_nothing_positive_is_one_line(name, value):
    data = several(gaussian_data(40, 60, 20))
    data.split(name).labels[:] = value
    message = (
        f"protocols: linear: found no image of any class in the {name} split .*; allowed: some$"
    )
    with pytest.raises(UserError, match=message):
        run(data)


def test_the_released_recipe_is_the_default():
    o = Options()
    assert (o.epochs, o.batch, o.lr, o.weight_decay) == (100, 256, 0.01, 0)
    assert (o.milestones, o.crops, o.standardise) == ([60, 80], 0, True)


def test_deterministic():
    data = gaussian_data(60, 300, 200)
    np.testing.assert_equal(run(data, epochs=5), run(data, epochs=5))
    np.testing.assert_equal(run(data, epochs=5, crops=2), run(data, epochs=5, crops=2))


def test_standardise_makes_scales_immaterial():
    data = gaussian_data(45, 400, 200)
    on, off = (run(data, epochs=30, standardise=s) for s in (True, False))
    assert on["top1"] > off["top1"] + 5
    assert on["knn20"] == off["knn20"]


def test_crops_are_drawn_anew_for_so_many_epochs():
    data, shown = gaussian_data(30, 64, 32, side=8), {}
    for crops, epochs in ((0, 4), (2, 4), (4, 4), (6, 4)):
        network = Recorder()
        told(examine(network, data, Options(epochs=epochs, crops=crops, knn=[1]), 0, CPU))
        seen = [x for x in network.seen if len(x) == 64]  # the test split has 32
        assert len(seen) == 1 + min(crops, epochs)
        assert len({x.sum().item() for x in seen}) == len(seen)
        shown[crops] = torch.cat(seen)
    assert torch.equal(shown[4], shown[6])
    assert torch.equal(shown[2], shown[4][: 3 * 64])
    # more epochs than crops: the same ones again; they differ from the whole images' result
    many = gaussian_data(45, 400, 200, side=8)
    assert run(many, epochs=12, crops=2) != run(many, epochs=12)
    assert run(many, epochs=12, crops=2)["knn20"] == run(many, epochs=12)["knn20"]


def test_size_asks_for_another_side():
    network, data = Recorder(), gaussian_data(30, 40, 20, side=8)
    told(examine(network, data, Options(size=6, epochs=2, crops=1, knn=[3]), 0, CPU))
    assert {tuple(x.shape[1:]) for x in network.seen} == {(3, 6, 6)}


def test_neighbours_are_the_training_images_of_the_largest_cosine():
    data = gaussian_data(40, 300, 60)
    kept = run(data, epochs=1)["arrays"]
    x, query, labels, truth = arrays(data)
    chosen = [int(np.flatnonzero(truth == c)[0]) for c in spaced(list(range(CLASSES)), 6)]
    x, query = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, query))
    rows = np.argsort(-query[chosen] @ x.T, axis=1)[:, :5]
    expected = np.column_stack([truth[chosen], labels[rows]])
    assert kept["labels"].tolist() == expected.tolist()
    found = decode(kept["neighbours"])
    assert found.shape == (len(chosen) * SIDE, 6 * SIDE, 3)
    images = [[data.split("test").images[i], *data.split("train").images[r]]
              for i, r in zip(chosen, torch.from_numpy(rows))]  # fmt: skip
    expected = np.concatenate([torch.cat(line, 2).permute(1, 2, 0).numpy() for line in images])
    found, expected = (
        a @ [0.299, 0.587, 0.114] for a in (found, expected)
    )  # JPEG thins out colour
    assert np.abs(found - expected).mean() < 10
    assert np.abs(found - np.roll(expected, SIDE, axis=1)).mean() > 20
