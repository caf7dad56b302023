"""Figures of a report, and pictures of what networks find, on made-up results."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from reports import STAGES, TOP1, blank, edit, made, make_real, make_settings, place, settings_of

from burn.evaluation.pictures import encode
from burn.report import examples
from burn.report.style import BLUE, ORANGE, RED


@pytest.fixture
def figures(monkeypatch):
    """name -> figure, of all that is drawn."""
    found = {}

    def keep(figure, base):
        blank(base)
        found[base.name] = figure

    monkeypatch.setattr("burn.report.style.save", keep)
    return found


def test_figure_is_a_column_wide_with_vector_fonts_and_no_date(results, drawn):
    out = made(results)
    png = (out / "figures/linear.png").read_bytes()
    assert int.from_bytes(png[16:20], "big") == 990  # 3.3 inches at 300 dots
    pdf = (out / "figures/linear.pdf").read_bytes()
    assert b"/Type /Font" in pdf and b"/Type3" not in pdf
    assert b"CreationDate" not in pdf and b"Software" not in png


def test_figure_draws_bars_spread_chance_and_published_of_real_sets_only(results, drawn, figures):
    bad = {"collapsed": True}
    edit(results, "linear-cifar10", "burn", 0, lambda f: f["stages"]["binary"].update(bad))
    made(results)
    first = figures["linear"]
    make_real(results)
    made(results, make_settings(seeds=[0]), "real")

    def drawn_in(figure):
        (ax,) = figure.axes
        heights = [bar[0].get_height() for bar in ax.containers if hasattr(bar, "patches")]
        diamonds = [float(x.get_ydata()[0]) for x in ax.lines if x.get_marker() == "D"]
        dotted = [float(x.get_ydata()[0]) for x in ax.lines if x.get_linestyle() == ":"]
        spreads = len([bar for bar in ax.containers if not hasattr(bar, "patches")])
        return heights, diamonds, dotted, spreads, [text.get_text() for text in ax.texts]

    heights = [21, 62, 42, 51, 70.5]
    heights += [h - 5 for h in heights]
    assert drawn_in(first) == (heights, [], [10, 10], 10, ["†"])
    heights, diamonds, _, spreads, _ = drawn_in(figures["linear"])
    assert heights[:5] == [TOP1[method][0] for method in TOP1]
    assert (diamonds, spreads) == ([64.10, 61.50, 62.29], 0)


def test_training_curves_go_through_all_stages_with_the_balance_beside(results, drawn, figures):
    made(results, make_settings(seeds=[0]))
    by_title = {ax.get_title(): ax for ax in figures["curves"].axes if ax.get_title()}
    assert list(by_title) == ["teacher", "supervised", "s2bnn", "burn"]  # random is not trained
    loss = by_title["burn"].lines[0]
    # three stages of 3, 3 and 4 rows, each from update 20 on, its loss from 5 down
    assert loss.get_xdata().tolist() == [20 * i for i in range(1, 11)]
    expected = [5 / i for i in (1, 2, 3, 1, 2, 3, 1, 2, 3, 4)]
    assert loss.get_ydata().tolist() == pytest.approx(expected)
    assert [text.get_text() for text in by_title["burn"].texts] == list(STAGES)
    assert [text.get_text() for text in by_title["supervised"].texts] == ["binact", "binary"]
    assert not by_title["teacher"].texts
    dashed = [line for ax in figures["curves"].axes for line in ax.lines if line.get_color() == RED]
    beside = [line for line in dashed if line.get_xdata()[-1] == 60 and len(line.get_xdata()) == 3]
    assert beside and beside[0].get_ydata().tolist() == pytest.approx(
        [1 - i / 9 for i in (1, 2, 3)]
    )


def test_two_seeds_are_two_lines(results, drawn, figures):
    made(results, make_settings(seeds=[0, 1]))
    burn = next(ax for ax in figures["curves"].axes if ax.get_title() == "burn")
    names = [line.get_label() for line in burn.lines if line.get_color() == BLUE]
    assert names == ["loss, seed 0", "loss, seed 1"]


def test_scores_stand_above_what_each_stage_costs(results, drawn, figures):
    made(results)
    operations, stored = figures["cost"].axes

    def points(ax):
        marks = [bar.lines[0] for bar in ax.containers]
        return [(m.get_xdata()[0], m.get_ydata()[0], m.get_marker(), m.get_mfc()) for m in marks]

    seen = points(operations)
    assert len(seen) == len(points(stored)) == 3 + 2 + 3 + 3 + 1  # stages of the four, the teacher
    final = [p for p in seen if p[3] != "white"]
    assert [(y, marker) for _, y, marker, _ in final] == [
        (21.0, "s"), (62.0, "s"), (42.0, "s"), (51.0, "s"), (70.5, "*"),
    ]  # fmt: skip
    assert {round(x, 6) for x, *_ in seen} == {0.100032}  # of 32 pixels, see put_cost
    assert {x for x, *_ in points(stored)} == {0.5}


def test_shots_are_drawn_over_k_with_their_spread(results, drawn, figures):
    made(results, settings_of(results, seeds=[0]))
    (ax,) = figures["fewshot_k"].axes
    assert ax.get_title() == "voc07" and ax.get_xscale() == "log"
    burn = next(bar for bar in ax.containers if bar.get_label() == "burn")
    line, _, (bars,) = burn.lines
    assert line.get_xdata().tolist() == pytest.approx([1, 4, 16], rel=0.1)
    (low, high) = bars.get_segments()[1][:, 1]
    assert (high - low) / 2 == pytest.approx(0.4)


# -- pictures ------------------------------------------------------------------------------------


def keep_pictures(folder, protocol, method, arrays, stage="binary"):
    path = place(folder, protocol, method, 0).with_name("predictions.npz")
    with np.load(path) as old:
        found = dict(old)
    stage = "teacher" if method == "teacher" else stage
    np.savez(path, **found, **{f"{stage}.{name}": value for name, value in arrays.items()})


def test_neighbours_are_framed_by_whether_the_class_is_the_same(results, drawn, figures):
    side, queries = 8, 2
    picture = encode(np.full((3, queries * side, 4 * side), 200, np.uint8))
    labels = np.array([[0, 0, 1, 0], [2, 2, 2, 3]], np.int16)
    for method in ("random", "supervised", "burn", "teacher"):
        own = {"neighbours": picture, "labels": labels if method == "burn" else labels * 0}
        keep_pictures(results, "linear-imagenet", method, own)
    out = made(results, make_settings(seeds=[0]))
    panels = {ax.get_title().split("\n")[0]: ax for ax in figures["neighbours"].axes}
    assert list(panels) == [
        "query",
        "random",
        "burn",
        "teacher",
    ]  # no baseline, none without pictures
    colours = [to_hex(frame.get_edgecolor()).upper() for frame in panels["burn"].patches]
    assert colours == [BLUE, ORANGE, BLUE, BLUE, BLUE, ORANGE]
    assert panels["burn"].get_title().endswith("4 of 6") and not panels["query"].patches
    assert "](figures/neighbours.png)" in (out / "report.md").read_text(encoding="utf-8")


def test_as_many_detections_are_drawn_as_there_are_objects_the_surest(tmp_path, figures):
    truth = np.array([[0, 1, 2, 2, 6, 6], [0, 0, 8, 8, 12, 12], [1, 1, 1, 1, 9, 9]], np.float32)
    boxes = [[0, 1, 0, 0, 5, 5, 0.3], [0, 0, 7, 7, 9, 9, 0.9], [0, 1, 3, 3, 4, 4, 0.5],
             [1, 0, 0, 0, 3, 3, 0.1]]  # fmt: skip
    own = {
        "classes": np.array(["cat", "dog"]),
        "truth": truth,
        "found": np.array(boxes, np.float32),
    }
    own |= {f"picture{n}": encode(np.zeros((3, 16, 16), np.uint8)) for n in range(2)}
    examples.detections({"mine": own}, tmp_path / "detection")
    axes = figures["detection"].axes  # a line of truth, a line of mine, two pictures each
    drawn_boxes = [[(*p.get_xy(), p.get_width()) for p in ax.patches] for ax in axes]
    assert drawn_boxes == [[(2, 2, 4), (8, 8, 4)], [(1, 1, 8)], [(7, 7, 2), (3, 3, 1)], [(0, 0, 3)]]
    colours = [[to_hex(p.get_edgecolor()) for p in ax.patches] for ax in axes]
    assert colours[0][0] == colours[2][1] != colours[0][1] == colours[2][0]
    assert [ax.get_ylabel() for ax in axes[::2]] == ["truth", "mine"]
    (key,) = figures["detection"].legends
    assert [text.get_text() for text in key.get_texts()] == ["cat", "dog"]


@pytest.mark.parametrize("classes", [4, 12])
def test_masks_have_one_colour_a_class_and_white_where_nothing_counts(tmp_path, figures, classes):
    truth = np.arange(classes, dtype=np.uint8).repeat(2).reshape(2, -1)
    truth[1, -1] = 255
    own = {"classes": np.array([f"c{i}" for i in range(classes)])}
    own |= {"picture0": encode(np.zeros((3, 2, classes), np.uint8)), "truth0": encode(truth)}
    own |= {"found0": encode(truth[::-1].copy())}
    examples.masks({"mine": own}, tmp_path / "masks")
    _, above, below = (ax.images[0].get_array() for ax in figures["masks"].axes)
    assert (above == below[::-1]).all()
    assert above[1, -1].tolist() == [255] * 3 and above[0, 0].tolist() == [0] * 3
    colours = {tuple(pixel) for pixel in above.reshape(-1, 3).tolist()}
    assert len(colours) == classes + 1
