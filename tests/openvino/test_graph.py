"""The graphs for OpenVINO compute what the network does, and the 1-bit one counts bits."""

import io

import deployed
import numpy as np
import onnx
import openvino
import pytest
import torch
import torch.nn.functional as F
from openvino import opset13 as op

from burn.deploy import ir, qonnx, runtime
from burn.deploy.fold import Half, fold
from burn.deploy.ranges import watched
from burn.errors import UserError


def kinds(model) -> list[str]:
    return [node.get_type_name() for node in model.get_ops()]


@pytest.mark.parametrize("bits", [1, 8, 32])
@pytest.mark.parametrize(
    ("side", "changes"), [(32, {}), (40, {"neck": False}), (20, {"stem": "small", "width": 0.5})]
)
def test_features_are_the_networks(bits, side, changes):
    network, x = deployed.network(**changes), deployed.images(side=side)
    model = ir.model(network, side, bits)
    assert kinds(model).count("BinaryConvolution") == (26 if bits == 1 else 0)
    assert deployed.same(network(x), runtime.Compiled(model, 1)(x))


@pytest.mark.parametrize("changes", [{}, {"width": 1.0}])
def test_what_openvino_runs_are_binary_convolutions(changes):
    """OpenVINO calls the operation obsolete: an upgrade may run floats in its place, as right and slower."""
    network = deployed.network(neck=False, **changes)
    compiled = runtime.Compiled(ir.model(network, 32, 1), 1)
    compiled(deployed.images(1))
    made = next(iter(compiled.compiled.values())).get_runtime_model().get_ops()
    ran = [node.rt_info["layerType"].astype(str) for node in made]
    assert ran.count("BinaryConvolution") == 26
    assert ran.count("Convolution") == 1, "the stem alone is of floats"
    kinds = [node.rt_info["primitiveType"].astype(str) for node in made
             if node.rt_info["layerType"].astype(str) == "BinaryConvolution"]  # fmt: skip
    assert all("jit" in kind for kind in kinds), f"{set(kinds)}: not the reference, which is slow"


@pytest.mark.parametrize("precision", ["real", "binact"])
def test_before_the_binary_stage_weights_are_floats(precision):
    network, x = deployed.network(precision), deployed.images()
    assert deployed.same(network(x), runtime.Compiled(ir.model(network, 32, 32), 1)(x))


SHIFTS = torch.tensor([0.0, -0.0, 0.25, -0.25, 1e-30, 7.0, -1e-3, 0.5])


@pytest.mark.parametrize("bits", [1, 8, 32])
@pytest.mark.parametrize(("kernel", "stride", "outputs"), [(3, 1, 1), (3, 2, 1), (1, 1, 2)])
def test_a_convolution_is_exact_and_the_sign_of_zero_is_plus_one(bits, kernel, stride, outputs):
    channels, count = len(SHIFTS), outputs * len(SHIFTS)
    weight = torch.randn(count, channels, kernel, kernel).sign()
    zeros, scale = torch.zeros(count), 2.0 ** torch.arange(count).sub(4)
    half = Half(weight, scale, SHIFTS, zeros, zeros, zeros, stride, "binary")
    x = torch.randn(1, channels, 6, 6)
    x[..., :3] = -SHIFTS.view(1, -1, 1, 1)  # on the edge
    x[..., 3] = torch.nextafter(x[..., 2], torch.tensor(-9.0))  # and below it
    x[:, :2, :, 3] = -1e-30
    x[0, 0, 0, 0], x[0, 1, 0, 0] = -0.0, 0.0
    signs = torch.where(x + (SHIFTS.view(1, -1, 1, 1) + 0.0) >= 0, 1.0, -1.0)
    expected = F.conv2d(signs, weight, None, stride, kernel // 2) * scale.view(1, -1, 1, 1)
    images = op.parameter(list(x.shape), np.float32)
    layer = {1: ir._binary_conv, 8: ir._byte_conv, 32: ir._real_conv}[bits](half, images)
    found = runtime.Compiled(openvino.Model([layer], [images], "half"), 1)(x)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "changes",
    [{}, {"stem": "small"}, {"arch": "resnet50", "stem": "imagenet"}],
)
def test_a_floating_point_network_and_its_bytes(changes):
    network, x = deployed.teacher(**changes), deployed.images(side=48)
    with watched(network) as ranges:
        known = network(x)
    assert ranges["conv1"] == (float(x.min()), float(x.max()))
    assert all(low >= 0 for name, (low, _) in ranges.items() if name != "conv1")
    assert max(deployed.apart(known, runtime.Compiled(ir.model(network, 48, 32), 1)(x))) < 1e-5
    compiled = runtime.Compiled(ir.model(network, 48, 8, ranges), 1)
    assert F.cosine_similarity(known, compiled(x)).min() > 0.99
    made = next(iter(compiled.compiled.values())).get_runtime_model().get_ops()
    ran = [n.rt_info["primitiveType"].astype(str) for n in made
           if n.rt_info["layerType"].astype(str) == "Convolution"]  # fmt: skip
    assert ran and all(kind.endswith("I8") for kind in ran), "it must multiply bytes"


def test_ranges_are_of_all_batches_and_nothing_is_left_behind():
    network = deployed.teacher()
    with watched(network) as ranges:
        for scale in (1, 5, 2):
            network(scale * deployed.images(2))
    assert ranges["conv1"][1] == float((5 * deployed.images(2)).max())
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_a_file_read_again_takes_any_batch(tmp_path):
    network, path = deployed.network(), tmp_path / "network.xml"
    openvino.save_model(ir.model(network, 32, 1), path, compress_to_fp16=False)
    compiled = runtime.Compiled(runtime.read(path), 1)
    for count in (1, 5, 16):
        x = deployed.images(count)
        assert deployed.same(network(x), compiled(x.contiguous(memory_format=torch.channels_last)))
    assert compiled.model is not runtime.read(path)


def test_two_graphs_of_a_network_are_the_same_bytes(tmp_path):
    for name in "ab":
        model = ir.model(deployed.network(), 32, 1)
        openvino.save_model(model, tmp_path / f"{name}.xml", compress_to_fp16=False)
    for suffix in ("xml", "bin"):
        one, other = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
        assert one == other


@pytest.mark.parametrize("what", ["missing", "no bin", "short bin", "cut", "foreign", "no images"])
def test_a_damaged_graph_is_one_line(tmp_path, what):
    path = tmp_path / "network.xml"
    model = ir.model(deployed.network(), 32, 1)
    if what == "no images":
        text = op.parameter([1, 3], np.float32)
        model = openvino.Model([op.relu(text)], [text], "other")
    openvino.save_model(model, path, compress_to_fp16=False)
    if what == "missing":
        path.unlink()
    elif what == "no bin":
        path.with_suffix(".bin").unlink()
    elif what == "short bin":
        whole = path.with_suffix(".bin").read_bytes()
        path.with_suffix(".bin").write_bytes(whole[: len(whole) // 2])
    elif what == "cut":
        path.write_text(path.read_text()[:5000])
    elif what == "foreign":
        path.write_text("<html/>")
    with pytest.raises(UserError) as error:
        runtime.read(path)
    told = str(error.value)
    assert told.startswith(str(path.with_suffix(""))) and "\n" not in told, told


def in_plain_operators(network, side) -> runtime.Compiled:
    model = qonnx.plain(qonnx.model(fold(network), network.dim, side))
    onnx.checker.check_model(model, full_check=True)
    return runtime.Compiled(openvino.Core().read_model(io.BytesIO(model.SerializeToString())), 1)


@pytest.mark.parametrize(
    ("side", "changes"), [(32, {}), (40, {"neck": False}), (20, {"stem": "small", "width": 0.5})]
)
def test_qonnx_says_the_network(side, changes):
    network, x = deployed.network(**changes), deployed.images(side=side)
    model = qonnx.model(fold(network), network.dim, side)
    bipolar = [node for node in model.graph.node if node.op_type == "BipolarQuant"]
    assert len(bipolar) == 2 * 26, "weights and activations of every binary convolution"
    assert {node.domain for node in bipolar} == {"qonnx.custom_op.general"}
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer}
    assert all(constants[node.input[1]] == 1 for node in bipolar)
    weights = [constants[n.input[0]] for n in bipolar if n.input[0] in constants]
    assert len(weights) == 26 and all((np.abs(w) == 1).all() for w in weights)
    assert deployed.same(network(x), in_plain_operators(network, side)(x))


def test_qonnx_by_its_own_executor(tmp_path):
    """Where the package qonnx is installed; it is in no extra, being needed for nothing else."""
    execute = pytest.importorskip("qonnx.core.onnx_exec").execute_onnx
    wrapper = pytest.importorskip("qonnx.core.modelwrapper").ModelWrapper
    infer = pytest.importorskip("qonnx.transformation.infer_shapes").InferShapes
    network, x = deployed.network(), deployed.images(1)
    model = wrapper(qonnx.model(fold(network), network.dim, 32)).transform(infer())
    found = torch.from_numpy(execute(model, {"images": x.numpy()})["features"])
    torch.testing.assert_close(found, network(x), rtol=1e-4, atol=1e-4)
