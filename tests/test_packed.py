"""network.safetensors: a bit a weight, and the trained network again when it is read."""

import json

import deployed
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import burn
from burn.deploy import packed
from burn.deploy.cost import stored
from burn.deploy.fold import fold
from burn.errors import UserError
from burn.networks.binary import BinaryConv2d
from burn.networks.reactnet import ReActNet


@pytest.fixture
def path(tmp_path):
    return tmp_path / "network.safetensors"


def saved(network, path, precision="binary"):
    packed.save(network, precision, path)
    return path


@pytest.mark.parametrize("precision", ["binary", "binact", "real"])
@pytest.mark.parametrize(("stem", "neck"), [("imagenet", True), ("small", False)])
def test_features_are_the_trained_networks(path, precision, stem, neck):
    network, x = deployed.network(precision, stem=stem, neck=neck), deployed.images()
    read = burn.load(saved(network, path, precision).parent)
    assert isinstance(read, ReActNet) and not read.training
    assert {m.precision for m in read.modules() if isinstance(m, BinaryConv2d)} == {precision}
    assert not any(p.requires_grad for p in read.parameters())
    assert deployed.same(network(x), read(x))


def test_a_floating_point_network_is_folded(path):
    network, x = deployed.teacher(), deployed.images()
    read = burn.load(saved(network, path, "fp").parent)
    assert max(deployed.apart(network(x), read(x))) < 1e-5
    assert not any("bn" in key and "running" in key for key in load_file(path))
    assert "bn1.running_var" in network.state_dict(), "the network given is left as it was"


@pytest.mark.parametrize("width", [0.25, 1.0])
def test_the_file_is_as_large_as_the_cost_table_says(path, width):
    network = ReActNet(width).at("binary").eval()
    size = saved(network, path).stat().st_size
    assert size == pytest.approx(stored(network), rel=0.02)
    if width == 1:
        assert size - 4 * (1024 * 1024 + 1024) < 4.6e6


def test_a_weight_is_a_bit_lowest_first(path):
    signs = torch.tensor([1.0, -1, -1, -1, -1, -1, -1, -1, 1, 1])
    assert packed.pack(signs).tolist() == [1, 3]
    assert packed.unpack(packed.pack(signs), 10).tolist() == signs.tolist()
    network = deployed.network()
    bits = load_file(saved(network, path))["weights"]
    convs = [m for m in network.modules() if isinstance(m, BinaryConv2d)]
    assert len(bits) == sum(m.weight.numel() for m in convs) // 8
    norm, weight = network.blocks[0].bn3, convs[0].weight
    flip = torch.where(norm.weight < 0, -1.0, 1.0).view(-1, 1, 1, 1)
    expected = torch.where(weight >= 0, 1.0, -1.0) * flip
    found = np.unpackbits(bits.numpy(), bitorder="little")[: weight.numel()]
    assert (found * 2.0 - 1 == expected.flatten().numpy()).all()


def test_two_saves_are_the_same_bytes_and_a_saved_one_saves_alike(path, tmp_path):
    network = deployed.network()
    first = saved(network, path).read_bytes()
    assert saved(network, path).read_bytes() == first
    again = tmp_path / "again.safetensors"
    packed.save(packed.load(path), "binary", again)
    one, other = load_file(path), load_file(again)
    assert torch.equal(one["weights"], other["weights"])
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-5, atol=1e-6)


def test_a_dilated_network_is_refused():
    from burn.networks.maps import dilate

    with pytest.raises(ValueError, match="dilated"):
        fold(dilate(deployed.network(), 16))


def damage(path, change):
    """Write the file again with `change` made to its tensors and header."""
    with packed.safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["burn"])
    tensors = load_file(path)
    change(tensors, header)
    save_file(tensors, path, {"burn": json.dumps(header)})


def shorten(tensors, _):
    tensors["weights"] = tensors["weights"][:-1].clone()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t, h: t.pop("slope"), "slope: found none; expected torch.float32"),
        (lambda t, h: t.update(more=torch.ones(1)), "more: found torch.float32 (1,); expected none"),
        (shorten, "weights: found torch.uint8"),
        (lambda t, h: t["shift"].fill_(torch.nan), "shift: found a value that is no number"),
        (lambda t, h: t.update(scale=t["scale"].half()), "scale: found torch.float16"),
        (lambda t, h: h.pop("network"), "header: found no network to build"),
        (lambda t, h: h.update(network={"arch": "reactnet", "depth": 3}), "header: found no network"),
        (lambda t, h: h.update(network=[]), "header: found no network to build"),
        (lambda t, h: h.update(precision="ternary"), "'ternary'"),
        (lambda t, h: h.update(precision="real"), "scale: found torch.float32"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_one_line(path, change, said):
    damage(saved(deployed.network(), path), change)
    refused(path, said)


def refused(path, said):
    with pytest.raises(UserError) as error:
        burn.load(path.parent)
    told = str(error.value)
    assert told.startswith(f"{path}: ") and said in told and "\n" not in told


def test_a_truncated_or_foreign_file_is_one_line(path):
    whole = saved(deployed.network(), path).read_bytes()
    for part in (0, 7, 100, len(whole) - 1):
        path.write_bytes(whole[:part])
        refused(path, "expected what export wrote")
    path.write_bytes(b"not a network " * 99)
    refused(path, "expected what export wrote")
    save_file({"network.weight": torch.ones(3)}, path)
    refused(path, "found no header of burn")
    save_file({"w": torch.ones(3)}, path, {"burn": "{"})
    refused(path, "header: not JSON")
