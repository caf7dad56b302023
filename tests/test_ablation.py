"""The ablation: variants of burn, apart from the main tables, at one budget."""

import csv

import graphs
import numpy as np
import pandas as pd
import pytest
import yaml
from reports import (
    STAGES,
    blank,
    evaluation,
    grid,
    made,
    make_real,
    make_settings,
    put,
    put_cost,
    put_curves,
)

from burn.errors import UserError
from burn.experiment.overlay import merge
from burn.experiment.reading import load, parse
from burn.experiment.reads import plain
from burn.experiment.schema import Methods
from burn.methods.burn import Recipe
from burn.report.ablation import bases
from burn.report.difference import over_seeds

STEPS = {
    "joint": ("joint_classifier", (0, 0, 12), 41.0),
    "joint_similarity": ("joint_classifier+feature_similarity", (0, 0, 12), 44.0),
    "staged": ("burn_same, staged", (0, 6, 6), 48.0),
}


@pytest.fixture
def ablated(results):
    """(results with three variants, the settings that ask for them)."""
    settings = make_settings()
    raw = settings["methods"].model_dump()
    for name, (label, epochs, top1) in STEPS.items():
        raw["distilled"][name] = {
            "file": "burn",
            "table": "ablation",
            "label": label,
            "epochs": dict(zip(STAGES, epochs)),
        }
        put_cost(results, name)
        put_curves(results, name)
        for protocol in ("linear-imagenet", "linear-cifar10"):
            for seed in range(3):
                found = evaluation(protocol, name, seed, top1 + seed)
                trained = {s: n for s, n in zip(STAGES, epochs) if n}
                found["stages"] = {
                    s: found["stages"][s]
                    | {"epochs": n, "updates": 62 * n, "images_seen": 4000 * n}
                    for s, n in trained.items()
                }
                put(results, found)
    settings["methods"] = Methods.model_validate(raw)
    return results, settings


def test_the_table_states_the_budget_and_stands_beside_the_published_bars(ablated):
    out = made(*ablated)
    table = grid(out / "tables/ablation.md")
    heads = ["variant", "epochs", "steps", "images seen", "imagenet (stand-in)"]
    assert table[0] == [*heads, "published (real set)", "cifar10"]
    assert table[1:] == [
        ["joint classifier", "0/0/12", "744", "48000", "42.00 ± 1.00", "57.33", "42.00 ± 1.00"],
        ["+ feature similarity", "0/0/12", "744", "48000", "<ins>45.00</ins> ± 1.00", "59.53",
         "<ins>45.00</ins> ± 1.00"],
        ["burn_same, staged", "0/6/6", "744", "48000", "**49.00** ± 1.00", "", "**49.00** ± 1.00"],
    ]  # fmt: skip
    with open(out / "tables/ablation.csv", newline="", encoding="utf-8") as file:
        lines = [x for x in csv.DictReader(file) if x["metric"] == "top1"]
    assert [x["label"] for x in lines[::2]] == [label for label, *_ in STEPS.values()]
    assert {(x["steps"], x["images_seen"]) for x in lines} == {("744", "48000")}
    caption = (out / "tables/ablation.md").read_text(encoding="utf-8")
    assert "BURN figure 1d" in caption and "in 744 optimiser steps." in caption
    assert "over 3 seeds (0, 1, 2)" in caption
    tex = (out / "tables/ablation.tex").read_text()
    assert tex.isascii() and "+ feature similarity & 0/0/12 & 744 & 48000 &" in tex


def test_what_each_change_adds_is_said_with_its_interval(ablated):
    results, settings = ablated
    found = evaluation("linear-cifar10", "joint_similarity", 2, 30.0)  # the others have 42 and 43
    found["stages"] = {"binary": found["stages"]["binary"]}
    put(results, found)
    out = made(results, settings)
    table = grid(out / "tables/ablation_steps.md")
    assert [row[:4] + row[6:] for row in table] == [
        ["variant", "against", "column", "difference", "verdict"],
        ["+ feature similarity", "joint classifier", "imagenet (stand-in)", "+3.00", "above"],
        ["burn_same, staged", "+ feature similarity", "imagenet (stand-in)", "+4.00", "above"],
        ["+ feature similarity", "joint classifier", "cifar10", "-2.33", "level"],
        ["burn_same, staged", "+ feature similarity", "cifar10", "+9.33", "level"],
    ]
    with open(out / "tables/ablation_steps.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [(x["method"], x["base"]) for x in lines[:2]] == [
        ("joint_similarity", "joint"), ("staged", "joint_similarity")]  # fmt: skip
    apart = np.array([3.0, 3.0, -13.0])
    assert float(lines[2]["seeds_low"]) == pytest.approx(over_seeds(apart)[0])


def test_a_change_is_compared_with_what_it_changes():
    shown = ["joint", "+ similarity", "+ stages", "frozen", "same view", "+ crops", "without"]
    rows = [{"method": n.strip("+ "), "names": (n,), "stage": "binary"} for n in shown]
    rows.insert(1, {"method": "unfinished", "names": ("unfinished",), "stage": "binact"})
    assert bases(pd.DataFrame(rows)) == {
        "similarity": "joint", "stages": "similarity", "frozen": "stages",
        "same view": "stages", "crops": "same view", "without": "crops",
    }  # fmt: skip


def test_main_tables_know_nothing_of_it(ablated):
    out = made(*ablated)
    for name in ("linear", "stages", "cost"):
        for suffix in ("csv", "md", "tex"):
            text = (out / f"tables/{name}.{suffix}").read_text(encoding="utf-8")
            assert not [variant for variant in STEPS if variant in text], name
    ranked = {row[0]: row[1] for row in grid(out / "tables/linear.md")}
    assert ranked["burn"].startswith("<ins>51.00")
    page = (out / "report.md").read_text(encoding="utf-8")
    assert "4 methods (random, supervised, s2bnn, burn)" in page
    assert "3 more networks are variants of burn" in page
    assert page.count("white: published") == 1
    assert page.index("## After each stage") < page.index("## Ablation") < page.index("## Cost")


def test_pretrained_on_another_set_the_bars_stand_beside_that_one(ablated):
    results, settings = ablated
    settings["pretrain_on"] = "cifar10"
    settings["protocols"] = {k: v for k, v in settings["protocols"].items() if k.endswith("10")}
    out = made(results, settings)
    table = grid(out / "tables/ablation.md")
    assert table[0][4:] == ["cifar10", "published (imagenet)"]
    assert [row[-1] for row in table[1:]] == ["57.33", "59.53", ""]
    text = (out / "tables/ablation.md").read_text(encoding="utf-8")
    assert "They are of imagenet: only steps from row to row compare" in text
    with open(out / "tables/ablation.csv", newline="", encoding="utf-8") as file:
        assert not any(line["published"] for line in csv.DictReader(file))
    assert "\n| joint classifier | cifar10 |" not in (out / "report.md").read_text(encoding="utf-8")


def test_without_variants_there_is_no_table(results):
    out = made(results)
    assert not (out / "tables/ablation.md").exists()
    assert "blation" not in (out / "report.md").read_text(encoding="utf-8")


def test_the_figure_has_a_panel_per_set_and_one_of_the_published_bars(ablated, drawn, monkeypatch):
    figures = []

    def keep(figure, base):
        blank(base)
        if base.name == "ablation":
            figures.append(figure)

    monkeypatch.setattr("burn.report.style.save", keep)
    made(*ablated)
    make_real(ablated[0])
    made(*ablated, name="real")
    for figure, name in zip(figures, ("imagenet (stand-in)", "imagenet")):
        ours, cifar, published = figure.axes
        assert ours.get_title() == name and cifar.get_title() == "cifar10"
        assert published.get_title() == "imagenet, published"
        for ax in (ours, cifar):
            assert [bar.get_width() for bar in ax.patches] == [42.0, 45.0, 49.0]
        assert [bar.get_width() for bar in published.patches] == [57.33, 59.53]
        labels = [text.get_text() for text in ours.get_yticklabels()]
        assert labels == ["joint classifier", "+ feature similarity", "burn_same, staged"]


def test_a_label_is_for_the_ablation_alone():
    raw = plain(load(graphs.ROOT / "params.yaml"))
    for change, said in (
        ({"label": "BURN"}, r"burn.label: found 'BURN'; allowed: only with table: ablation"),
        ({"table": "side"}, r"burn.table: found 'side'; allowed: 'main' or 'ablation'"),
        ({"table": "ablation", "label": "a|b"}, r"burn.label: found 'a|b'; allowed: match"),
    ):
        with pytest.raises(UserError) as error:
            parse(merge(raw, {"methods": {"distilled": {"burn": change}}}))
        assert said in str(error.value)


def test_the_preset_has_every_published_bar_and_one_budget():
    preset = yaml.safe_load((graphs.ROOT / "presets" / "ablation.yaml").read_text())
    params = parse(merge(plain(load(graphs.ROOT / "params.yaml")), preset))
    variants = {k: v for k, v in params.methods.distilled.items() if v.table == "ablation"}
    with open(graphs.ROOT / "burn" / "report" / "published.csv", newline="") as file:
        bars = [line["method"] for line in csv.DictReader(file) if line["table"] == "ablation"]
    labels = [variant.label for variant in variants.values()]
    assert labels[: len(bars)] == bars == [bar for bar in labels if bar in bars]
    assert {sum(n for _, n in v.epochs) for v in variants.values()} == {7}
    assert {v.file for v in variants.values()} == {"burn"}
    stages = {sum(n > 0 for _, n in v.epochs) for v in variants.values()}
    assert stages == {1, 2, 3}
    recipes = [Recipe(**v.recipe) for v in variants.values()]
    assert {r.target for r in recipes} == {"joint", "frozen"}
    assert {r.similarity for r in recipes} == {"none", "outputs", "features"}
    assert recipes[1].balance[0] == recipes[1].balance[1]
    assert sum(recipes[2].balance) == pytest.approx(sum(recipes[1].balance))  # half-cosine's mean


def test_variants_alone_are_a_report(ablated):
    results, settings = ablated
    raw = settings["methods"].model_dump()
    raw["standalone"] = {}
    raw["distilled"] = {k: v for k, v in raw["distilled"].items() if v["table"] == "ablation"}
    settings["methods"] = Methods.model_validate(raw)
    out = made(results, settings)
    assert (out / "tables/ablation.md").exists() and not (out / "tables/stages.md").exists()
    page = (out / "report.md").read_text(encoding="utf-8")
    assert "One binary network, made in variants with 3 seeds" in page
    assert "| joint classifier | imagenet (stand-in) | 42.00 | 57.33 | -15.33 |" in page
