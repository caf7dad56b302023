"""`python -m burn latency`: every runtime that an export has files for, timed in turns."""

import json
import shutil

import cli
import pytest
import torch

import burn
from burn.artifacts import write_json
from burn.deploy import runtime
from burn.deploy.c.compiled import Compiled, sets
from burn.latency import exports, interleaved, latency, onnx_graph


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
