"""What a network costs, against counts by hand and against the published ones."""

import csv
import json

import pytest
import torch
from reports import edit_cost, grid, made, make_settings
from torch import nn

from burn import places
from burn.deploy.cost import cost, count, network_at, stored
from burn.errors import UserError
from burn.networks.binary import BinaryConv2d, set_precision
from burn.report.tables import published

REACTNET = {"arch": "reactnet", "width": 1.0, "stem": "imagenet", "neck": False}
REACTNET |= {"gradient": "clipped"}


def toy():
    """3x8x8 -> 4x4x4 (real) -> 4x2x2 (binary 3x3) -> 8x2x2 (binary 1x1 pair) -> 8 -> 5."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1, bias=False),
        nn.BatchNorm2d(4),
        BinaryConv2d(4, 3, stride=2),
        BinaryConv2d(4, 1, outputs=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


REAL = 4 * 4 * 4 * 3 * 3 * 3 + 8 * 5  # multiply-accumulates of stem and classifier
BINARY = 2 * 2 * 4 * 4 * 3 * 3 + 2 * 2 * 8 * 4
WEIGHTS = 4 * 4 * 9 + 8 * 4  # of the binary convolutions
STEM, CLASSIFIER, SHIFTS, NORM = 4 * 3 * 9, 8 * 5 + 5, 4 + 4, 2 * 4
OTHERS = STEM + NORM + SHIFTS + CLASSIFIER


@pytest.mark.parametrize("precision", ["real", "binact", "binary"])
def test_a_toy_network_counted_by_hand(precision):
    found = count(set_precision(toy(), precision), 8)
    binary = precision == "binary"
    assert found["parameters"] == WEIGHTS + OTHERS
    assert found["bops"] == binary * BINARY
    assert found["flops"] == REAL + (not binary) * BINARY
    assert found["ops"] == found["bops"] / 64 + found["flops"]
    scales = 4 + 8  # 32 bits for each binary filter
    bits = WEIGHTS + 32 * scales if binary else 32 * WEIGHTS
    folded = 4  # of a batch norm the bias is stored
    assert found["bytes"] == (bits + 32 * (OTHERS - NORM + folded)) / 8


def test_bytes_of_odd_bits_are_whole():
    network = BinaryConv2d(1, 3)  # 9 bits, a scale, a shift
    assert stored(set_precision(network, "binary")) == 2 + 4 + 4
    assert stored(set_precision(network, "binact")) == 4 * (9 + 1)


def test_groups_count_their_own_channels():
    network = nn.Conv2d(3, 6, 1, groups=3)
    assert count(network, 4)["flops"] == 4 * 4 * 6


def test_what_cannot_be_counted_is_refused():
    network = nn.Sequential(nn.Flatten(), nn.Bilinear(2, 2, 3))
    with pytest.raises(TypeError, match="1: cannot count the operations of a Bilinear"):
        count(network, 4)


def test_hooks_are_gone_afterwards():
    network = toy()
    first = count(network, 8)
    assert not any(module._forward_hooks for module in network.modules())
    assert count(network, 8) == first


def test_reactnet_is_as_published():
    found = count(network_at(REACTNET, "binary", 1000), 224)
    assert found["flops"] == 32 * 27 * 112**2 + 1024 * 1000
    for what in ("flops", "ops"):
        printed = published().published["reactnet_a", "imagenet", "cost", f"{what}_1e8"]
        assert f"{found[what] / 1e8:.{len(printed.split('.')[1])}f}" == printed
    # blocks: 3x3 at the output's side, then 1x1 (pairs, where the width doubles)
    widths = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    side, products, weights, filters = 112, 0, 0, 0
    for i, (c, out) in enumerate(zip(widths, widths[1:])):
        side //= 2 if i and out != c else 1
        weights += 9 * c * c + c * out
        products += side**2 * (9 * c * c + c * out)
        filters += c + out
    assert found["bops"] == products
    # folded: a bias a channel of the stem, a shift per binary convolution's input, RPReLU 3 a channel
    numbers = 27 * 32 + 32 + 3 * filters + 2 * sum(widths[:-1])
    numbers += 1024 * 1000 + 1000 + filters  # and a scale a filter
    assert found["bytes"] == weights / 8 + 4 * numbers
    neck = count(network_at(REACTNET | {"neck": True}, "binary", 1000), 224)
    assert neck["flops"] - found["flops"] == 1024 * 1024
    assert neck["bops"] == found["bops"]


def test_resnet50_is_as_everybody_counts_it():
    config = {"arch": "resnet50", "width": 1.0, "stem": "imagenet"}
    found = count(network_at(config, "fp", 1000), 224)
    assert (found["parameters"], found["bops"]) == (25_557_032, 0)
    assert found["flops"] == pytest.approx(4.09e9, rel=1e-3)


def test_the_step_counts_the_network_of_every_method(tmp_path):
    torch.set_num_threads(1)
    small = REACTNET | {"width": 0.25, "neck": True}
    teacher = {"arch": "resnet18", "width": 0.125, "stem": "half"}
    methods = make_settings(distilled=["burn"])["methods"]
    folders = {"teacher": places.teacher(tmp_path, 3)}
    for name in ("random", "supervised", "burn"):
        folders[name] = places.network(tmp_path, name, 3, "binary")
    for name, folder in folders.items():
        network = {"teacher": teacher, "burn": small}.get(name, small | {"neck": False})
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps({"network": network}))
    settings = {"size": 32, "seeds": [3, 4], "methods": methods}
    cost(settings, tmp_path, places.cost(tmp_path))
    read = json.loads((tmp_path / "cost" / "metrics.json").read_text())
    assert set(read) == set(folders)
    assert (read["burn"]["network"], read["teacher"]["network"]) == (small, teacher)
    found = {
        (c["precision"], c["pixels"], c["width"], c["classes"]) for c in read["burn"]["counts"]
    }
    sizes = ((32, 0.25, 0), (224, 0.25, 0), (224, 1.0, 1000))
    assert found == {(p, *s) for p in ("real", "binact", "binary") for s in sizes}
    for name, network in (("burn", small), ("random", small | {"neck": False})):
        counts = read[name]["counts"]
        (at32,) = [c for c in counts if (c["precision"], c["pixels"]) == ("binary", 32)]
        expected = count(network_at(network, "binary"), 32)
        assert {k: at32[k] for k in expected} == expected
    assert {c["precision"] for c in read["teacher"]["counts"]} == {"fp"}


def test_the_table_has_a_line_per_network_and_setting(results):
    def with_a_neck(known):
        known["burn"]["network"]["neck"] = True
        return known

    edit_cost(results, with_a_neck)
    out = made(results)
    table = grid(out / "tables/cost.md")
    assert [row[:4] for row in table[1:]] == [
        [network, width, pixels, classes]
        for network in ("reactnet", "reactnet + neck", "resnet18 (fp)")
        for width, pixels, classes in (("0.25", "32", "0"), ("0.25", "224", "0"), ("1", "224", "1000"))
    ]  # fmt: skip
    # 2e6 parameters, 5e5 bytes, 6400 * 224 BOPs; the published figures beside full width alone
    assert table[2][4:] == ["2.000", "0.500", "0.0143", "0.1000", "0.1002", "", ""]
    assert table[3][4:] == ["2.000", "0.500", "0.0143", "0.1000", "0.1002", "0.12", "0.87"]
    assert table[6][4:] == ["2.000", "0.500", "0.0143", "0.1000", "0.1002", "", ""]  # has a neck
    text = (out / "tables/cost.md").read_text()
    assert (
        "reactnet: random, supervised, s2bnn; reactnet + neck: burn; resnet18 (fp): teacher" in text
    )
    assert "S2-BNN README" in text and "it adds 0.0105" in text
    with open(out / "tables/cost.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 5 * 3
    assert {x["precision"] for x in lines if x["method"] != "teacher"} == {"binary"}
    assert (out / "tables/cost.tex").read_text().isascii()
    assert "## Cost" in (out / "report.md").read_text()


def test_a_method_that_was_not_counted_is_named(results):
    edit_cost(results, lambda known: {m: found for m, found in known.items() if m != "burn"})
    with pytest.raises(UserError) as error:
        made(results, make_settings())
    path = places.cost(results) / "metrics.json"
    others = "random, supervised, s2bnn, teacher"
    assert str(error.value) == f"{path}: found {others}; expected burn, too"
