"""`python -m burn export`: the last network of a method in files, each as good as the network."""

import ast
import importlib.util
import io
import json
import re
import shutil
import subprocess

import cli
import deployed
import graphs
import onnx
import openvino
import pytest
import torch
from pixels import gaussian_data
from safetensors.torch import save_file

import burn
from burn.artifacts import write_json
from burn.deploy import qonnx, runtime
from burn.deploy.c.compiled import Compiled, sets
from burn.deploy.c.write import FILES
from burn.evaluation.scores import Scores
from burn.export import Images
from burn.images.augment import plain
from burn.images.store import open_data
from burn.latency import exports, interleaved, latency, onnx_graph
from burn.networks import build
from burn.tasks.linear import Options, examine

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images to tell apart, 32 pixels wide, in classes; what the tests make lies beside them."""
    folder = tmp_path_factory.mktemp("export")
    sets = {"imagenet": {"size": 32, "classes": 4, "train": 400, "test": 200}}
    changes = {
        "data": {"sets": sets},
        "protocols": {"probe": {"task": "linear", "dataset": "imagenet"}},
    }
    params = cli.write(folder, changes | {"tasks": {"linear": {"epochs": 20, "milestones": [15]}}})
    words = ["prepare", "--params", params, "--dataset", "imagenet", "--out", folder / "data"]
    assert cli.call(*words) == 0
    return folder


def left(folder, network, precision="binary", epochs=1, **facts):
    """`network` in `folder` as a training step leaves it."""
    folder.mkdir(parents=True)
    save_file(build.flatten({"network": network}), folder / "weights.safetensors")
    told = {"network": network.config, "precision": precision, "stage": precision, "seed": 0}
    write_json(folder / "metrics.json", told | {"method": "burn", "epochs": epochs} | facts)
    return folder


def exported(place, networks, out, data=True) -> dict:
    words = ["export", "--params", place / "params.yaml", "--networks", networks, "--out", out]
    assert cli.call(*words, *(["--data", place / "data"] if data else [])) == 0
    return json.loads((out / "metrics.json").read_text())


@pytest.fixture(scope="module")
def binary(place):
    """(network, folder of its export, metrics) of a fully binary network."""
    network = deployed.network()
    folder = left(place / "binary" / "net", network)
    return network, place / "binary" / "out", exported(place, folder, place / "binary" / "out")


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


@pytest.fixture(scope="module")
def evaluation(place, binary):
    """A linear evaluation of that network, where a run has it."""
    code, out = (
        cli.METHODS.parent / "tasks" / "linear.py",
        place / "eval" / "probe" / "burn" / "seed0",
    )
    words = ["protocol", "--params", place / "params.yaml", "--protocol", "probe", "--code", code]
    assert cli.call(*words, "--data", place / "data", "--out", place / "protocols" / "probe") == 0
    words = [
        "evaluate",
        "--params",
        place / "params.yaml",
        "--protocol",
        place / "protocols" / "probe",
    ]
    words += ["--networks", place / "binary" / "net", "--seed", 0, "--out", out]
    assert cli.call(*words) == 0
    return out


def classified(place, networks, evaluation, out, *more) -> int:
    words = ["export", "--params", place / "params.yaml", "--networks", networks, "--out", out]
    return cli.call(*words, "--classifier", evaluation, *more)


def test_with_a_classifier_it_finds_the_classes_that_the_evaluation_found(
    place, binary, evaluation
):
    out = place / "classifier"
    assert classified(place, place / "binary" / "net", evaluation, out) == 0
    top1 = json.loads((evaluation / "metrics.json").read_text())["stages"]["binary"]["top1"]
    assert 30 < top1 < 100, "of four classes: there must be something to lose"
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["classifier"] == {"protocol": "probe", "classes": 4, "top1": top1}
    assert (metrics["images"], set(metrics["formats"])) == (200, {"packed", "openvino", "c"})
    data = open_data(place / "data")
    test, images = data.split("test"), plain(data.split("test").images, 32)
    graph = runtime.Compiled(runtime.read(out / "runtimes" / "network.xml"), 1)
    for name, run in (("openvino", graph), ("c", Compiled(out / "runtimes" / "c"))):
        scores = run(images)
        assert scores.shape == (200, 4)
        found = 100 * float((scores.argmax(1) == test.labels).float().mean())
        assert found == pytest.approx(top1, abs=0.1), "of 200 images: not one is another"
        assert metrics["formats"][name]["top1"] == pytest.approx(found, abs=0.01)
        assert metrics["formats"][name]["agreement"] > 99
    subprocess.run(["make", "-s", "-C", out / "runtimes" / "c"], check=True)
    ppm = b"P6 32 32 255\n" + test.images[0].permute(1, 2, 0).numpy().tobytes()
    said = subprocess.run([out / "runtimes/c/network"], input=ppm, capture_output=True).stdout
    best = int(scores[0].argmax())
    assert said.decode() == f"{best} {data.classes[best]}\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(method="s2bnn"), "method: found 's2bnn'; expected 'burn', exported"),
        (lambda m: m.update(seed=1), "seed: found 1; expected 0, exported"),
        (lambda m: m["stages"]["binary"].pop("top1"), "stages.binary.top1: missing"),
        (lambda m: m["stages"]["binary"].update(top1=12.5), "stages.binary.top1: found 12.5; expected"),
        (lambda m: m.update(protocol="gone"), "protocols/gone/protocol.json: no such file"),
    ],
)  # fmt: skip
def test_another_evaluation_is_one_line(place, binary, evaluation, capsys, change, said):
    told = json.loads((evaluation / "metrics.json").read_text())
    change(told)
    other = place / "eval" / "probe" / "burn" / "other"
    other.mkdir(exist_ok=True)
    write_json(other / "metrics.json", told)
    assert classified(place, place / "binary" / "net", other, place / "refused") == 2
    assert said in cli.error_of(capsys) and not (place / "refused").exists()


def test_a_classifier_has_its_own_images(place, binary, evaluation, capsys):
    more = ("--data", place / "data")
    assert classified(place, place / "binary" / "net", evaluation, place / "refused", *more) == 2
    assert "--data: found" in cli.error_of(capsys)


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


@pytest.mark.parametrize("threads", [1, 2])
def test_onnx_runtime_gives_the_features(binary, threads):
    network, _, _ = binary
    images = torch.randn(4, 3, 32, 32)
    graph = onnx_graph(network, "binary", 32)
    constants = {tensor.name for tensor in graph.graph.initializer}
    signed = [n for n in graph.graph.node if n.op_type == "GreaterOrEqual"]
    assert len(signed) == 26 and not {n.input[0] for n in signed} & constants, (
        "weights are signed once"
    )
    session = runtime.Session(graph, threads)
    apart = (session(images) - network(images)).abs().amax(1) / network(images).abs().max()
    assert (apart < 1e-4).sum() >= 3  # a sum that rounds differently may flip a sign of one


def test_times_are_measured_of_all_runtimes_in_turns():
    order = []
    runtimes = {name: lambda x, name=name: order.append(name) for name in "ab"}
    found = interleaved(runtimes, None, 0)
    assert set(found) == {"a", "b"} and all(len(times) >= 5 for times in found.values())
    turns = "".join(order[2:])
    assert turns.index("b") < turns.rindex("a"), "not one after the other is done"


def test_latency_measures_each_network_once(place, binary, tmp_path, monkeypatch):
    monkeypatch.setattr("burn.latency.settings", lambda facts, folder: [
        ({"pixels": facts["pixels"], "exported": True}, burn.load(folder))
    ])  # fmt: skip
    monkeypatch.setattr("burn.latency.CHUNK", 0.0)
    monkeypatch.setattr("burn.latency.LEAST", 2)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    _, out, _ = binary
    for method in ("burn", "s2bnn"):
        folder = tmp_path / "export" / method / "seed0"
        shutil.copytree(out, folder)
        write_json(
            folder / "metrics.json",
            json.loads((out / "metrics.json").read_text()) | {"method": method},
        )
    latency(exports(tmp_path, ["burn", "s2bnn", "gone"], 0), tmp_path / "latency.json", 0)
    found = json.loads((tmp_path / "latency.json").read_text())
    assert all(row["methods"] == ["burn", "s2bnn"] for row in found["rows"])
    runtimes = {row["runtime"] for row in found["rows"]}
    assert runtimes == {
        "torch",
        "ONNX Runtime fp32",
        "OpenVINO fp32",
        "OpenVINO int8",
        "OpenVINO 1 bit",
        *(f"C {Compiled(out / 'runtimes/c', flags).set}" for flags in sets()),
    }
    assert {row["batch"] for row in found["rows"]} == {1, 32}
    assert all(0 < row["low"] <= row["median"] <= row["high"] for row in found["rows"])
    assert found["machine"]["processor"] and found["machine"]["threads"] >= 1


def test_latency_without_an_export_is_one_line(tmp_path, capsys):
    assert cli.call("latency", "--results", tmp_path) == 2
    assert "found no exported network" in cli.error_of(capsys)
