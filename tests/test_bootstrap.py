"""The paired bootstrap, against SciPy's and by hand; what the report says of it."""

import csv
import re

import numpy as np
import pytest
from reports import evaluation, made, make_settings, place, put, put_cost, put_curves
from scipy.stats import bootstrap

from burn.errors import UserError
from burn.experiment.schema import Methods
from burn.report.difference import RESAMPLES, interval


def guesses(rate, seeds, images, seed=0):
    """Right or not, per seed and image: images differ in how hard they are."""
    rng = np.random.default_rng(seed)
    hard = np.random.default_rng(9).normal(0, 1, images)
    return (rng.normal(0, 1, (seeds, images)) + hard < rate).astype(np.uint8)


def test_one_seed_is_scipys_paired_bootstrap():
    ours, theirs = guesses(0.3, 1, 700), guesses(0.1, 1, 700, 1)

    def statistic(a, b, axis):
        return 100 * (a.mean(axis) - b.mean(axis))

    data = (ours[0].astype(float), theirs[0].astype(float))
    rng = np.random.default_rng(3)
    found = bootstrap(data, statistic, n_resamples=9999, paired=True, method="percentile", rng=rng)
    mean, low, high = interval(ours, theirs)
    assert mean == pytest.approx(statistic(*data, axis=0))
    assert (low, high) == pytest.approx(tuple(found.confidence_interval), abs=0.25)


def test_width_is_that_of_the_standard_error_of_the_paired_difference():
    ours, theirs = guesses(0.3, 1, 5000), guesses(0.1, 1, 5000, 1)
    _, low, high = interval(ours, theirs)
    difference = 100 * (ours[0].astype(float) - theirs[0])
    assert high - low == pytest.approx(2 * 1.96 * difference.std() / 5000**0.5, rel=0.05)
    # narrower than if the two had been drawn apart: images that are hard are so for both
    apart = 100 * (ours.var() / 5000 + theirs.var() / 5000) ** 0.5
    assert high - low < 0.9 * 2 * 1.96 * apart


def test_several_seeds_and_images_are_both_drawn_anew():
    ours, theirs = guesses(0.3, 4, 300), guesses(0.1, 4, 300, 1)
    ours[0] = 1  # a seed that stands out
    difference = 100 * (ours.astype(float) - theirs)
    rng, means = np.random.default_rng(5), []
    for _ in range(4000):  # plainly: rows and columns with replacement
        rows, columns = rng.integers(0, 4, 4), rng.integers(0, 300, 300)
        means.append(difference[rows][:, columns].mean())
    mean, low, high = interval(ours, theirs)
    assert mean == pytest.approx(difference.mean())
    assert (low, high) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.8)
    only = interval(ours.mean(0, keepdims=True), theirs.mean(0, keepdims=True))
    assert only[2] - only[1] < 0.6 * (high - low)  # with the seeds held fast


def test_it_is_the_same_every_time_and_nought_for_equals():
    ours, theirs = guesses(0.3, 2, 200), guesses(0.1, 2, 200, 1)
    assert interval(ours, theirs) == interval(ours, theirs)
    assert interval(ours, ours) == (0, 0, 0)
    assert RESAMPLES == 10_000


def sentence(out):
    (line,) = [
        x for x in (out / "report.md").read_text().splitlines() if x.startswith("Difference")
    ]
    return line


def test_the_best_rival_of_each_set_is_named_under_the_main_table(results):
    settings = make_settings(distilled=("s2bnn", "other", "burn", "burn_stable"))
    for seed in range(3):
        for protocol, values in (
            ("linear-imagenet", (30, 20)),
            ("linear-cifar10", (39, 20)),  # here the other is better than s2bnn
        ):
            for method, value in zip(("other", "burn_stable"), values):
                put(results, evaluation(protocol, method, seed, value))
    for method in ("other", "burn_stable"):
        put_curves(results, method)
        put_cost(results, method)
    out = made(results, settings)
    text = sentence(out)
    assert "10000 resamples of the test images and of the 3 seeds" in text
    points = re.findall(r"(\S+) - (\S+) on (\S+)(?: \(stand-in\))? (\S+) \[(\S+), (\S+)\]", text)
    assert [x[:4] for x in points] == [
        ("burn", "s2bnn", "imagenet", "+9.00"),
        ("burn", "other", "cifar10", "+7.00"),
        ("burn_stable", "s2bnn", "imagenet", "-22.00"),
        ("burn_stable", "other", "cifar10", "-19.00"),
    ]
    assert all(float(low) < float(mean) < float(high) for *_, mean, low, high in points)
    for name in ("linear.md", "linear.tex"):
        assert "paired bootstrap" in (out / "tables" / name).read_text()
    assert "paired bootstrap" not in (out / "tables/stages.md").read_text()
    with open(out / "tables/differences.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [x["rival"] for x in lines] == ["s2bnn", "other", "s2bnn", "other"]
    assert lines[0]["seeds"] == "3" and lines[0]["test_images"] == "1000"


def test_it_pairs_images_not_means(results):
    """Two methods that are right on other images have a wider interval than two that agree."""
    agree = made(results, make_settings(seeds=[0]))
    path = place(results, "linear-imagenet", "s2bnn", 0).with_name("predictions.npz")
    bits = np.unpackbits(np.load(path)["binary"])[:1000]
    np.savez(path, binary=np.packbits(bits[::-1]))
    apart = made(results, make_settings(seeds=[0]), "apart")

    def width(out):
        low, high = re.search(r"imagenet \(stand-in\) \S+ \[(\S+), (\S+)\]", sentence(out)).groups()
        return float(high) - float(low)

    assert width(apart) > 2 * width(agree)
    assert "seeds" not in sentence(agree).split("resamples")[1].split(":")[0]


@pytest.mark.parametrize("distilled", [("burn",), ("s2bnn",)])
def test_without_burn_or_a_rival_nothing_is_said(results, distilled):
    out = made(results, make_settings(distilled=distilled))
    assert "bootstrap" not in (out / "report.md").read_text()
    assert not (out / "tables/differences.csv").exists()


def test_random_supervised_ablation_and_imported_rows_are_no_rivals(results):
    settings = make_settings()
    plain = settings["methods"].model_dump()
    plain["distilled"]["s2bnn"]["table"] = "ablation"
    settings["methods"] = Methods.model_validate(plain)
    assert "bootstrap" not in (made(results, settings) / "report.md").read_text()
    plain["distilled"]["s2bnn"] |= {"table": "main", "file": "imported"}
    settings["methods"] = Methods.model_validate(plain)
    assert "bootstrap" not in (made(results, settings) / "report.md").read_text()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_bytes(b"no zip"), "expected bits for binary"),
        (lambda path: np.savez(path), "expected bits for binary"),
        (lambda path: np.savez(path, binary=np.zeros(7, np.uint8)), "expected bits for 1000"),
    ],
)
def test_predictions_that_do_not_fit_are_named(results, spoil, said):
    path = place(results, "linear-cifar10", "s2bnn", 1).with_name("predictions.npz")
    spoil(path)
    with pytest.raises(UserError) as error:
        made(results)
    assert str(error.value).startswith(f"{path}: ") and said in str(error.value)
    assert "\n" not in str(error.value)
