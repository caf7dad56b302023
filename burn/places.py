"""Names that several steps know: files of an artifact folder, folders of a run (results/<run>/)."""

import os
from pathlib import Path

METRICS, WEIGHTS, PROVENANCE = "metrics.json", "weights.safetensors", "provenance.json"
LOG, CURVE, CHECKPOINT = "log.jsonl", "curve.csv", "checkpoint.pt"
TENSORS, INDEX = "data.safetensors", "index.json"  # of prepare
SEEN = "files.npz"  # of prepare, where sets are streamed: sizes and times; no step depends on it
PROTOCOL, CODE, PREDICTIONS = "protocol.json", "task.py", "predictions.npz"  # of protocol, evaluate
OVERLAY = "overlay.yaml"  # of import-checkpoint
REPORT = ("report.md", "report.html", "tables", "figures", "metrics", "steps",
          "params.yaml")  # of report  # fmt: skip
# Of export: the network in as few bytes as it has, and a folder of what other programs read.
PACKED, RUNTIMES = "network.safetensors", "runtimes"
GRAPH, GRAPH_INT8, QONNX, IN_C = "network.xml", "network-int8.xml", "network.onnx", "c"

KNOWN = {METRICS, WEIGHTS, PROVENANCE, LOG, CURVE, TENSORS, INDEX, SEEN, PROTOCOL, CODE, PREDICTIONS,
         OVERLAY, PACKED, RUNTIMES, *REPORT, ".gitignore"}  # all that artifact folders hold  # fmt: skip

TEACHER = "teacher"  # its row in every table
# What is committed of runs: a folder each, in it a file with what its tables are made from.
PUBLISHED, STEPS = Path("results/published"), "steps.tar.xz"
ASKED = "params.yaml"  # of report: what it has read of the experiment


def named(path: str | Path) -> Path:
    """The place that a user means by `path`: ~ is a home folder, in params.yaml as in a shell."""
    return Path(os.path.expanduser(path))


def dataset(results: Path, name: str) -> Path:
    return results / "data" / name


def listing(results: Path) -> Path:
    return results / "listing"


def teacher(results: Path, seed: int) -> Path:
    return results / "teacher" / f"seed{seed}"


def stages(results: Path, method: str, seed: int) -> Path:
    """The folder that holds a method's networks, one folder a stage."""
    return results / "pretrain" / method / f"seed{seed}"


def network(results: Path, method: str, seed: int, stage: str) -> Path:
    return stages(results, method, seed) / stage


def protocol(results: Path, name: str) -> Path:
    return results / "protocols" / name


def evaluation(results: Path, protocol: str, method: str, seed: int) -> Path:
    return results / "eval" / protocol / method / f"seed{seed}"


def cost(results: Path) -> Path:
    return results / "cost"


def exported(results: Path, method: str, seed: int) -> Path:
    return results / "export" / method / f"seed{seed}"


def latency(results: Path) -> Path:
    return results / "latency.json"
