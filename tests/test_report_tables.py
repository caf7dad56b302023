"""The numbers of the report's tables: rows, columns, ranks, spreads, published figures."""

import pytest
from reports import (
    SETS,
    TOP1,
    edit,
    evaluation,
    find,
    grid,
    lines_of,
    made,
    make_real,
    make_settings,
    put,
)


def test_csv_has_every_metric_unrounded_with_spread_and_published(results):
    lines = lines_of(made(results) / "tables/linear.csv")
    assert len(lines) == 5 * 2 * 4
    cell = find(lines, method="s2bnn", protocol="linear-imagenet", metric="top1")
    assert float(cell["mean"]) == 42.0
    assert float(cell["std"]) == pytest.approx(7**0.5, abs=1e-12)  # n - 1 in the denominator
    assert (cell["n"], cell["stage"], cell["epochs"]) == ("3", "binary", "4")
    assert (cell["stand_in"], cell["collapsed"]) == ("True", "False")
    # two sources print this one: the paper's table goes first, digits as printed
    assert (cell["published"], cell["published_source"]) == ("61.50", "BURN README (CVPR 2022)")
    top5 = find(lines, method="s2bnn", protocol="linear-imagenet", metric="top5")
    assert (float(top5["mean"]), top5["published"]) == (62.0, "83.512")
    assert find(lines, method="burn", dataset="cifar10", metric="top1")["published"] == ""
    metrics = [x["metric"] for x in lines[:4]]
    assert metrics == ["top1", "top5", "knn20", "knn200"]


def test_rows_are_ordered_and_columns_follow_the_protocols(results):
    table = grid(made(results) / "tables/linear.md")
    assert [row[0] for row in table[1:]] == [
        "random",
        "supervised",
        "s2bnn",
        "burn",
        "teacher (FP)",
    ]
    heads = ["method", "imagenet (stand-in)", "published (real set)", "cifar10"]
    assert table[0] == heads
    turned = make_settings(distilled=("burn", "s2bnn"), protocols=tuple(SETS)[::-1])
    table = grid(made(results, turned, "turned") / "tables/linear.md")
    assert [row[0] for row in table[3:5]] == ["burn", "s2bnn"]
    assert table[0] == ["method", "cifar10", *heads[1:3]]


def test_markdown_shows_mean_spread_published_best_and_second(results):
    rows = {row[0]: row[1:] for row in grid(made(results) / "tables/linear.md")}
    assert rows["supervised"] == ["**62.00** ± 2.00", "64.10", "**57.00** ± 2.00"]
    assert rows["burn"] == ["<ins>51.00</ins> ± 1.00", "62.29", "<ins>46.00</ins> ± 1.00"]
    assert rows["random"] == ["21.00 ± 1.00", "", "16.00 ± 1.00"]
    assert rows["teacher (FP)"] == ["70.50 ± 0.50", "", "65.50 ± 0.50"]  # highest, not ranked


def test_what_is_not_fully_binary_is_named_and_not_ranked(results):
    for seed in range(3):
        for protocol in SETS:
            edit(results, protocol, "supervised", seed, lambda f: f["stages"].pop("binary"))
    rows = {row[0]: row[1] for row in grid(made(results) / "tables/linear.md")}
    assert rows["supervised (binact)"] == "61.00 ± 2.00"
    assert rows["burn"].startswith("**51.00**")


def test_equal_numbers_rank_alike(results):
    for seed in range(3):
        put(results, evaluation("linear-imagenet", "s2bnn", seed, TOP1["supervised"][seed]))
    rows = {row[0]: row[1] for row in grid(made(results) / "tables/linear.md")}
    assert rows["s2bnn"] == rows["supervised"] == "**62.00** ± 2.00"
    assert rows["burn"].startswith("<ins>51.00")


def test_one_seed_has_no_spread(results):
    out = made(results, make_settings(seeds=[1]))
    rows = {row[0]: row[1] for row in grid(out / "tables/linear.md")}
    assert rows["burn"] == "<ins>51.00</ins>"
    assert "±" not in (out / "report.md").read_text(encoding="utf-8")
    assert "One seed (1)" in (out / "tables/linear.md").read_text(encoding="utf-8")
    assert {x["std"] for x in lines_of(out / "tables/linear.csv")} == {""}


def test_a_score_that_is_no_number_leaves_a_hole_and_is_told(results):
    nan = {"top1": float("nan")}
    for method, seeds in {"s2bnn": range(3), "burn": [2]}.items():
        for seed in seeds:
            edit(
                results, "linear-cifar10", method, seed, lambda f: f["stages"]["binary"].update(nan)
            )
    out = made(results)
    rows = {row[0]: row[3] for row in grid(out / "tables/linear.md")}
    assert rows["s2bnn"] == "–" and rows["burn"] == "<ins>45.50</ins> ± 0.71"
    assert "Some seeds have no number" in (out / "tables/linear.md").read_text(encoding="utf-8")
    lines = lines_of(out / "tables/linear.csv")
    hole = find(lines, method="s2bnn", dataset="cifar10", metric="top1")
    assert (hole["mean"], hole["std"], hole["n"]) == ("", "", "0")


def test_a_real_set_has_its_published_figures_without_reserve(results):
    make_real(results)
    out = made(results)
    assert grid(out / "tables/linear.md")[0] == ["method", "imagenet", "published", "cifar10"]
    text = (out / "tables/linear.md").read_text(encoding="utf-8")
    assert "those of BURN README (CVPR 2022)" in text and "not comparable" not in text


def test_stages_table_has_a_line_per_trained_stage(results):
    out = made(results)
    table = grid(out / "tables/stages.md")
    assert table[0] == ["method", "stage", "epochs", "imagenet (stand-in)", "cifar10"]
    assert [row[1] for row in table if row[0] == "supervised"] == ["binact", "binary"]
    burn = [row[1:4] for row in table if row[0] == "burn"]
    assert burn[:2] == [["real", "3", "49.00 ± 1.00"], ["binact", "3", "50.00 ± 1.00"]]
    assert burn[2] == ["binary", "4", "<ins>51.00</ins> ± 1.00"]
    assert "teacher" not in {row[0] for row in table}
    lines = lines_of(out / "tables/stages.csv")
    published = [x["stage"] for x in lines if x["method"] == "burn" and x["published"]]
    assert published == ["binary"]  # a published figure is of the finished network


def test_transfer_is_to_the_sets_not_pretrained_on(results):
    out = made(results)
    assert grid(out / "tables/transfer.md")[0] == ["method", "cifar10"]
    rows = {row[0]: row[1] for row in grid(out / "tables/transfer.md")}
    assert rows["burn"] == "<ins>46.00</ins> ± 1.00"
    alone = made(results, make_settings(protocols=["linear-imagenet"]), "alone")
    assert not (alone / "tables/transfer.md").exists()
