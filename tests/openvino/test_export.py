"""`python -m burn export`: the last network of a method in files, each as good as the network."""

import ast
import importlib.util
import io
import json
import re
import shutil

import cli
import deployed
import graphs
import onnx
import openvino
import pytest
import torch
from deployed import exported, left
from pixels import gaussian_data

import burn
from burn.artifacts import write_json
from burn.deploy import qonnx, runtime
from burn.deploy.c.compiled import Compiled
from burn.deploy.c.write import FILES
from burn.evaluation.scores import Scores
from burn.export import Images
from burn.tasks.linear import Options, examine

CPU = torch.device("cpu")


def test_every_format_is_compared_with_the_network(place, binary):
    network, out, metrics = binary
    assert {f.name for f in out.iterdir()} == {
        "network.safetensors", "runtimes", "metrics.json", "provenance.json"
    }  # fmt: skip
    assert {f.name for f in (out / "runtimes").iterdir()} == {
        "network.xml", "network.bin", "network.onnx", "c"
    }  # fmt: skip
    assert metrics["network"] == network.config and metrics["precision"] == "binary"
    assert (metrics["images"], metrics["dataset"], metrics["pixels"]) == (200, "imagenet", 32)
    assert set(metrics["formats"]) == {"packed", "openvino", "qonnx", "c"}
    for found in metrics["formats"].values():
        assert found["bits"] == 1 and found["agreement"] > 95 and found["apart"] < 5
    sizes = {f.name: f.stat().st_size for f in out.rglob("*") if f.is_file()}
    assert metrics["formats"]["packed"]["bytes"] == sizes["network.safetensors"]
    two = sizes["network.xml"] + sizes["network.bin"]
    assert metrics["formats"]["openvino"]["bytes"] == two


def test_two_exports_are_the_same_bytes(place, binary):
    _, out, _ = binary
    exported(place, place / "binary" / "net", place / "again")
    for file in (
        "metrics.json",
        "network.safetensors",
        "runtimes/network.xml",
        "runtimes/network.bin",
        *(f"runtimes/c/{name}" for name in FILES),
    ):
        assert (out / file).read_bytes() == (place / "again" / file).read_bytes(), file


def test_a_network_that_is_another_is_told(place, binary):
    """The comparison is no formality: half of the shifts of one layer wrong, and agreement falls."""
    network, _, _ = binary
    images = Images(place / "data", 32, 0)
    known, _ = images.seen_by(network)
    same = images.compare(known, images.seen_by(network)[0])
    assert same == {"difference": 0, "apart": 0, "agreement": 100}
    other = deployed.network()
    other.blocks[3].conv3.shift[:, ::2] += 1
    found = images.compare(known, images.seen_by(other)[0])
    assert found["apart"] > 90 and found["agreement"] < 95


def top1(network, noise) -> float:
    options = Options(epochs=20, milestones=[15], knn=[5])
    scores = examine(network, gaussian_data(noise, 400, 200, 32), options, 0, CPU)
    assert isinstance(scores, Scores)
    return scores.values["top1"]


def test_what_ships_scores_as_the_network_in_linear_evaluation(binary):
    network, out, _ = binary
    expected = top1(network, 5)
    assert 25 < expected < 99, "of eight classes: there must be something to lose"
    assert top1(burn.load(out), 5) == pytest.approx(expected, abs=2)
    graph = runtime.Compiled(runtime.read(out / "runtimes" / "network.xml"), 1)
    assert top1(graph, 5) == pytest.approx(expected, abs=2)
    plain = qonnx.plain(onnx.load(out / "runtimes" / "network.onnx")).SerializeToString()
    graph = runtime.Compiled(openvino.Core().read_model(io.BytesIO(plain)), 1)
    assert top1(graph, 5) == pytest.approx(expected, abs=2)
    assert top1(Compiled(out / "runtimes" / "c"), 5) == pytest.approx(expected, abs=2)


def test_the_teacher_in_floats_and_bytes(place):
    network = deployed.teacher()
    facts = {"stage": "teacher", "epochs": 3}
    folder = left(place / "teacher" / "net", network, "fp", **facts)
    meta = json.loads((folder / "metrics.json").read_text())
    del meta["method"]  # a teacher's names none
    write_json(folder / "metrics.json", meta)
    out = place / "teacher" / "out"
    metrics = exported(place, folder, out)
    assert metrics["method"] == metrics["stage"] == "teacher"
    bits = {name: found["bits"] for name, found in metrics["formats"].items()}
    assert bits == {"packed": 32, "openvino": 32, "openvino-int8": 8}
    for name in ("packed", "openvino"):
        assert metrics["formats"][name]["difference"] < 1e-3
        assert metrics["formats"][name]["agreement"] == 100
    eight = metrics["formats"]["openvino-int8"]
    assert 0.01 < eight["difference"] < 20 and eight["agreement"] > 85
    assert eight["bytes"] < metrics["formats"]["openvino"]["bytes"]
    expected = top1(network, 30)
    assert 50 < expected < 90
    for file in ("network.xml", "network-int8.xml"):
        graph = runtime.Compiled(runtime.read(out / "runtimes" / file), 1)
        assert top1(graph, 30) == pytest.approx(expected, abs=3), file


def test_a_network_of_binary_activations_alone_keeps_its_floats_and_it_is_said(place, capsys):
    network = deployed.network("binact")
    stages = place / "binact" / "net"
    left(stages / "real", deployed.network("real"), "real")
    left(stages / "binact", network, "binact")
    left(stages / "binary", deployed.network(seed=5), "binary", epochs=0)
    metrics = exported(place, stages, place / "binact" / "out")
    assert metrics["stage"] == "binact"
    assert {found["bits"] for found in metrics["formats"].values()} == {32}
    assert "weights of a network of stage binact are real" in capsys.readouterr().out
    x = deployed.images()
    assert deployed.same(network(x), burn.load(place / "binact" / "out")(x))


def test_without_openvino_its_graphs_are_missing_and_a_line_says_so(
    place, binary, capsys, monkeypatch
):
    find = importlib.util.find_spec
    missing = lambda name, *more: None if name == "openvino" else find(name, *more)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", missing)
    metrics = exported(place, place / "binary" / "net", place / "bare")
    assert set(metrics["formats"]) == {"packed", "c"}
    assert [f.name for f in (place / "bare" / "runtimes").iterdir()] == ["c"]
    said = [
        line
        for line in capsys.readouterr().out.splitlines()
        if "openvino" in line and "not installed" in line
    ]
    assert len(said) == 1 and "pip install '.[export]'" in said[0]


def test_without_data_nothing_is_compared(place, binary):
    metrics = exported(place, place / "binary" / "net", place / "alone", data=False)
    assert set(metrics["formats"]["openvino"]) == {"bits", "bytes"} and "images" not in metrics


def test_c_alone_and_what_it_cannot_hold(place, binary, capsys):
    words = ["export", "--params", place / "params.yaml", "--only", "c", "--networks"]
    assert cli.call(*words, place / "binary" / "net", "--out", place / "only") == 0
    assert [f.name for f in (place / "only" / "runtimes").iterdir()] == ["c"]
    net = left(place / "real" / "net", deployed.network("binact"), "binact")
    capsys.readouterr()
    assert cli.call(*words, net, "--out", place / "refused") == 2
    said = f"{net}/metrics.json: found real weights (stage binact); expected those of stage binary"
    assert cli.error_of(capsys) == said and not (place / "refused").exists()


def test_without_a_compiler_c_is_written_and_a_line_says_that_it_was_not_tried(
    place, binary, capsys, monkeypatch
):
    monkeypatch.setenv("CC", "no-such-compiler")
    metrics = exported(place, place / "binary" / "net", place / "untried")
    assert set(metrics["formats"]["c"]) == {"bits", "bytes", "ram"}
    assert {f.name for f in (place / "untried" / "runtimes" / "c").iterdir()} == set(FILES)
    assert "no C compiler, so runtimes/c was written and not tried" in capsys.readouterr().out


def test_labels_of_several_classes_have_no_vote(place, binary):
    network, _, _ = binary
    images = Images(place / "data", 32, 0)
    images.train.labels = torch.nn.functional.one_hot(images.train.labels).to(torch.uint8)
    known, _ = images.seen_by(network)
    assert set(images.compare(known, known)) == {"difference", "apart"}


def test_released_weights_are_exported_too(place, file, tmp_path):
    words = ["import-checkpoint", "--input", file("stage"), "--out", tmp_path / "released"]
    assert cli.call(*words) == 0
    metrics = exported(place, tmp_path / "released", tmp_path / "out", data=False)
    assert metrics["precision"] == "binary" and metrics["formats"]["openvino"]["bits"] == 1
    x = deployed.images()
    assert deployed.same(burn.load(file("stage"))(x), burn.load(tmp_path / "out")(x))


def test_a_folder_without_a_network_is_one_line(place, tmp_path, capsys):
    words = ["export", "--params", place / "params.yaml", "--networks", tmp_path / "gone"]
    assert cli.call(*words, "--out", tmp_path / "out") == 2
    assert "gone/metrics.json: no such file" in cli.error_of(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("runs", ["torch", "OpenVINO"])
def test_the_lines_of_the_docs_run_as_they_stand(binary, runs, tmp_path, monkeypatch):
    network, out, _ = binary
    text = (graphs.ROOT / "docs" / "deployment.md").read_text()
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", text, re.S)
                if ("openvino" in b) == (runs == "OpenVINO")]  # fmt: skip
    assert len(ast.parse(block).body) == 3
    shutil.copytree(out, tmp_path / "results/default/export/burn/seed0")
    monkeypatch.chdir(tmp_path)
    said = {}
    exec(block, said)
    found = torch.as_tensor(said["features"])
    torch.testing.assert_close(found, network(torch.zeros(1, 3, 32, 32)), rtol=1e-4, atol=1e-4)


def test_the_lines_of_the_readme_run_as_they_stand(monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (graphs.ROOT / "README.md").read_text(), re.S)
    assert len(blocks) == 2 and all(len(ast.parse(block).body) == 3 for block in blocks)
    monkeypatch.chdir(graphs.ROOT)
    features = []
    for block in blocks:
        said = {}
        exec(block, said)
        features.append(torch.as_tensor(said["features"]))
    assert features[0].shape == (1, 256) and features[0].std() > 0
    torch.testing.assert_close(*features, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["burn", "burn_same", "s2bnn"])
def test_networks_in_git_are_what_their_metrics_say(name):
    folder = graphs.ROOT / "results" / "networks" / name
    facts = json.loads((folder / "metrics.json").read_text())
    assert facts["method"] == name and facts["precision"] == "binary"
    for form, file in (("packed", folder), ("openvino", folder / "runtimes")):
        files = [f for f in file.iterdir() if f.suffix in (".safetensors", ".xml", ".bin")]
        assert sum(f.stat().st_size for f in files) == facts["formats"][form]["bytes"] < 1e6
    x = torch.randn(8, 3, 32, 32)
    assert deployed.same(
        runtime.Compiled(runtime.read(folder / "runtimes/network.xml"))(x), burn.load(folder)(x)
    )
