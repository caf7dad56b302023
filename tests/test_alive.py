"""When the target of a joint classifier dies: told in a table, drawn in a figure."""

import math

import pandas as pd
import pytest
from reports import blank, grid, lines_of, made, make_settings

from burn import places
from burn.report import alive

# target_information at the looks of one stage, and from which update on it is below 0.1 for good
COURSES = [
    ([2.0, 1.0, 0.5], None),
    ([2.0, 0.09, 0.01], 40),
    ([0.05, 1.0, 0.05], 60),  # it came back once
    ([0.05, 0.01, 0.0], 20),
    ([0.05, 0.01, 0.1], None),
]


@pytest.mark.parametrize(("course", "expected"), COURSES)
def test_dead_is_from_where_it_stays_dead(course, expected):
    curves = pd.DataFrame(
        {"method": "mine", "seed": 0, "stage": "binary", "update": [20.0, 40.0, 60.0],
         "target_information": course, "output_information": [3.0, 2.0, 1.5]}
    )  # fmt: skip
    (line,) = alive.records(curves).itertuples()
    found = line.dead_from_update
    assert math.isnan(found) if expected is None else found == expected
    assert (line.target_information, line.output_information) == (course[-1], 1.5)


def put_information(results, method, seed, stage, targets):
    rows = [f"{20 * i},1,{20 * i},1,0.8,0.3,{t},{2 * t}\n" for i, t in enumerate(targets, 1)]
    head = "update,lr,images,loss,balance,kl,target_information,output_information\n"
    path = places.network(results, method, seed, stage) / "curve.csv"
    path.write_text(head + "".join(rows))


@pytest.fixture
def joint(results):
    """burn lives with seed 0, and is dead with seed 1 from the end of its second stage on."""
    stages = {"real": [2.0, 2.0, 2.0], "binact": [2.0, 2.0, 2.0], "binary": [1.0] * 4}
    for stage, targets in stages.items():
        put_information(results, "burn", 0, stage, targets)
        dead = {"binact": [2.0, 2.0, 0.01], "binary": [0.01, 0.0, 0.0, 0.0]}.get(stage, targets)
        put_information(results, "burn", 1, stage, dead)
    return results


def test_seeds_stand_side_by_side_and_updates_are_counted_over_all_stages(joint):
    out = made(joint, make_settings(seeds=[0, 1]))
    table = grid(out / "tables/information.md")
    heads = [
        "method",
        "target dead from update",
        "target, nats at the end",
        "output, nats at the end",
    ]
    assert table == [heads, ["burn", "–, 120", "1, 0", "2, 0"]]  # s2bnn has no KL term
    lines = lines_of(out / "tables/information.csv")
    assert [(x["seed"], x["dead_from_update"]) for x in lines] == [("0", ""), ("1", "120.0")]
    page = (out / "report.md").read_text(encoding="utf-8")
    assert page.index("## Training") < page.index("(figures/information.png)")


def test_the_figure_has_a_panel_for_the_target_and_one_for_the_output(joint, drawn, monkeypatch):
    figures = {}

    def keep(figure, base):
        blank(base)
        figures[base.name] = figure

    monkeypatch.setattr("burn.report.style.save", keep)
    made(joint, make_settings(seeds=[0, 1]))
    target, output = figures["information"].axes
    assert [ax.get_title() for ax in (target, output)] == [
        "target information",
        "output information",
    ]
    assert target.get_yscale() == "log"
    first, second = target.lines
    assert (
        first.get_xdata().tolist() == second.get_xdata().tolist() == [20 * i for i in range(1, 11)]
    )
    assert first.get_linewidth() > second.get_linewidth()
    assert first.get_ydata().tolist() == [2.0] * 6 + [1.0] * 4
    assert second.get_ydata().tolist() == [2.0] * 5 + [0.01] * 2 + [1e-4] * 3  # 0 has no logarithm
    assert output.lines[0].get_ydata().tolist() == [4.0] * 6 + [2.0] * 4


def test_without_a_kl_term_nothing_is_said_of_it(results):
    out = made(results)
    assert not (out / "tables/information.md").exists()
    assert "information.png" not in (out / "report.md").read_text(encoding="utf-8")
