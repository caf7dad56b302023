"""Differences to the best rival: their intervals against SciPy's, and what the report says."""

import numpy as np
import pytest
from reports import (
    edit,
    evaluation,
    grid,
    lines_of,
    made,
    make_settings,
    place,
    put,
    put_cost,
    put_curves,
)
from scipy.stats import bootstrap, ttest_rel

from burn.errors import UserError
from burn.experiment.schema import Methods
from burn.report.difference import RESAMPLES, over_images, over_seeds, verdict


def guesses(rate, seeds, images, seed=0):
    """Right or not, per seed and image: images differ in how hard they are."""
    rng = np.random.default_rng(seed)
    hard = np.random.default_rng(9).normal(0, 1, images)
    return (rng.normal(0, 1, (seeds, images)) + hard < rate).astype(np.uint8)


def test_over_images_is_scipys_paired_bootstrap():
    ours, theirs = guesses(0.3, 1, 700), guesses(0.1, 1, 700, 1)

    def statistic(a, b, axis):
        return 100 * (a.mean(axis) - b.mean(axis))

    data = (ours[0].astype(float), theirs[0].astype(float))
    rng = np.random.default_rng(3)
    found = bootstrap(data, statistic, n_resamples=9999, paired=True, method="percentile", rng=rng)
    assert over_images(ours, theirs) == pytest.approx(tuple(found.confidence_interval), abs=0.25)


def test_width_is_that_of_the_standard_error_of_the_paired_difference():
    ours, theirs = guesses(0.3, 1, 5000), guesses(0.1, 1, 5000, 1)
    low, high = over_images(ours, theirs)
    difference = 100 * (ours[0].astype(float) - theirs[0])
    assert high - low == pytest.approx(2 * 1.96 * difference.std() / 5000**0.5, rel=0.05)
    # narrower than if the two had been drawn apart: images that are hard are so for both
    apart = 100 * (ours.var() / 5000 + theirs.var() / 5000) ** 0.5
    assert high - low < 0.9 * 2 * 1.96 * apart


def test_of_several_seeds_the_mean_difference_of_an_image_is_drawn():
    ours, theirs = guesses(0.3, 4, 300), guesses(0.1, 4, 300, 1)
    difference = 100 * (ours.astype(float) - theirs).mean(0)
    rng = np.random.default_rng(5)
    means = [difference[rng.integers(0, 300, 300)].mean() for _ in range(4000)]
    assert over_images(ours, theirs) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.4)


def test_over_seeds_is_scipys_paired_t_interval():
    ours, theirs = np.array([30.0, 33.0, 31.5]), np.array([28.0, 27.0, 30.0])
    expected = ttest_rel(ours, theirs).confidence_interval(0.95)
    assert over_seeds(ours - theirs) == pytest.approx((expected.low, expected.high))
    # three seeds that a bootstrap of the seeds would call above
    low, high = over_seeds(np.array([11.2, 2.0, 7.1]))
    assert (round(low, 1), round(high, 1)) == (-4.7, 18.2)
    assert all(map(np.isnan, over_seeds(np.array([3.0]))))


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 2, "above"),
        (-1, 2, "level"),
        (-3, -0.1, "below"),
        (0, 1, "level"),
        (np.nan, np.nan, ""),
    ],
)
def test_the_verdict_is_the_intervals(low, high, said):
    assert verdict(low, high) == said


def test_it_is_the_same_every_time_and_nought_for_equals():
    ours, theirs = guesses(0.3, 2, 200), guesses(0.1, 2, 200, 1)
    assert over_images(ours, theirs) == over_images(ours, theirs)
    assert over_images(ours, ours) == (0, 0)
    assert RESAMPLES == 10_000


def differences(out):
    """(method, rival, protocol) -> the line of tables/differences.csv, and the table as printed."""
    lines = lines_of(out / "tables/differences.csv")
    return {(x["method"], x["rival"], x["protocol"]): x for x in lines}, grid(
        out / "tables/differences.md"
    )


def test_the_best_rival_of_each_set_is_named(results):
    settings = make_settings(distilled=("s2bnn", "other", "burn", "burn_dense"))
    for seed in range(3):
        for protocol, values in (
            ("linear-imagenet", (30, 20)),
            ("linear-cifar10", (39, 20)),  # here the other is better than s2bnn
        ):
            for method, value in zip(("other", "burn_dense"), values):
                put(results, evaluation(protocol, method, seed, value))
    for method in ("other", "burn_dense"):
        put_curves(results, method)
        put_cost(results, method)
    lines, table = differences(made(results, settings))
    found = {key: (round(float(x["difference"]), 2), x["verdict"]) for key, x in lines.items()}
    assert found == {
        ("burn", "s2bnn", "linear-imagenet"): (9.0, "above"),
        ("burn", "other", "linear-cifar10"): (7.0, "above"),  # here the other is better than s2bnn
        ("burn_dense", "s2bnn", "linear-imagenet"): (-22.0, "below"),
        ("burn_dense", "other", "linear-cifar10"): (-19.0, "below"),
    }
    for x in lines.values():
        ends = [float(x[k]) for k in ("seeds_low", "difference", "seeds_high")]
        assert ends == sorted(ends) and (x["seeds"], x["test_images"]) == ("3", "1000")
    assert table[0][-1] == "verdict"
    assert [(row[0], row[-1]) for row in table[1:]] == 2 * [
        ("burn", "above"),
        ("burn_dense", "below"),
    ]
    caption = (results / "report/tables/differences.md").read_text()
    assert "of 3 seeds" in caption and "Verdict (in these runs)" in caption


def test_of_one_seed_the_interval_over_images_decides_and_pairs_them(results):
    """Two methods that are right on other images have a wider interval than two that agree."""
    agree, table = differences(made(results, make_settings(seeds=[0])))
    path = place(results, "linear-imagenet", "s2bnn", 0).with_name("predictions.npz")
    bits = np.unpackbits(np.load(path)["binary"])[:1000]
    np.savez(path, binary=np.packbits(bits[::-1]))
    apart, _ = differences(made(results, make_settings(seeds=[0]), "apart"))
    key = ("burn", "s2bnn", "linear-imagenet")

    def width(x):
        return float(x["images_high"]) - float(x["images_low"])

    assert width(apart[key]) > 2 * width(agree[key])
    assert agree[key]["seeds_low"] == "" and agree[key]["verdict"] == "above"
    assert "of these networks" in (results / "report/tables/differences.md").read_text()


def test_collapsed_rows_are_marked_and_not_bold(results):
    for seed in range(3):
        edit(results, "linear-imagenet", "burn", seed,
             lambda x: x["stages"]["binary"].update(collapsed=True, collapse=["dead target"]))  # fmt: skip
    out = made(results)
    lines, table = differences(out)
    assert lines["burn", "s2bnn", "linear-imagenet"]["collapsed"] == "True"
    assert "burn†" in [row[0] for row in table]
    text = (out / "tables/linear.md").read_text()
    assert "† collapsed in at least one seed: burn (dead target)." in text
    (row,) = [row for row in grid(out / "tables/linear.md") if row[0] == "burn"]
    assert "**" not in row[1] and "†" in row[1]


@pytest.mark.parametrize("distilled", [("burn",), ("s2bnn",)])
def test_without_burn_or_a_rival_nothing_is_said(results, distilled):
    out = made(results, make_settings(distilled=distilled))
    assert "best rival" not in (out / "report.md").read_text()
    assert not (out / "tables/differences.csv").exists()


def test_random_supervised_ablation_and_imported_rows_are_no_rivals(results):
    settings = make_settings()
    plain = settings["methods"].model_dump()
    plain["distilled"]["s2bnn"]["table"] = "ablation"
    settings["methods"] = Methods.model_validate(plain)
    assert "best rival" not in (made(results, settings) / "report.md").read_text()
    plain["distilled"]["s2bnn"] |= {"table": "main", "file": "imported"}
    settings["methods"] = Methods.model_validate(plain)
    assert "best rival" not in (made(results, settings) / "report.md").read_text()


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
