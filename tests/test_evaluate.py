"""What an evaluation leaves beside its scores."""

import json

import graphs
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from burn.data.prepare import prepare
from burn.errors import UserError
from burn.evaluate import evaluate, write_protocol
from burn.experiment.overlay import merge
from burn.experiment.reading import load, parse
from burn.experiment.reads import plain, settings
from burn.experiment.schema import Machine
from burn.networks import build

STAGES = ("real", "binact", "binary")


@pytest.fixture
def ground(tmp_path, monkeypatch):
    """A data set, a protocol on it, and three stages of a network, the first not trained."""
    monkeypatch.chdir(graphs.ROOT)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    small = {"size": 16, "classes": 4, "train": 40, "test": 21}
    changes = {
        "data": {"sets": {"imagenet": small}},
        "tasks": {"linear": {"epochs": 3, "milestones": [2]}},
    }
    params = parse(merge(plain(load("params.yaml")), changes))
    data, protocol = tmp_path / "data", tmp_path / "linear-imagenet"
    prepare("imagenet", settings(params, "prepare", dataset="imagenet"), data)
    code = graphs.ROOT / "burn" / "tasks" / "linear.py"
    read = settings(params, "protocol", protocol="linear-imagenet")
    write_protocol(read, "linear-imagenet", code, data, protocol)
    network = build.network({"arch": "reactnet", "width": 0.25, "neck": False})
    for stage in STAGES:
        (tmp_path / "networks" / stage).mkdir(parents=True)
        save_file(
            build.flatten({"network": network}),
            tmp_path / "networks" / stage / "weights.safetensors",
        )
        facts = {"network": network.config, "precision": stage, "epochs": int(stage != "real")}
        facts |= {"method": "mine", "updates": 7, "images_seen": 56, "stand_in": True}
        facts |= {"student_passes": 112, "collapse": ["dead target"]}
        (tmp_path / "networks" / stage / "metrics.json").write_text(json.dumps(facts))
    return tmp_path


def test_predictions_say_for_each_image_what_the_scores_say_of_all(ground):
    for out in ("a", "b"):
        evaluate(ground / "linear-imagenet", ground / "networks", 0, ground / out, Machine())
    found = json.loads((ground / "a" / "metrics.json").read_text())
    with np.load(ground / "a" / "predictions.npz") as predictions:
        assert set(found["stages"]) == {"binact", "binary"}
        for stage, scores in found["stages"].items():
            bits = predictions[stage]
            right = np.unpackbits(bits, count=found["test_images"])
            assert len(bits) == 3 and 100 * right.mean() == pytest.approx(scores["top1"], abs=1e-3)
            assert (scores["updates"], scores["images_seen"]) == (7, 56)
            assert (scores["student_passes"], scores["collapse"]) == (112, ["dead target"])
            assert scores["stand_in"] is True and "correct" not in scores
    first, second = ((ground / out / "predictions.npz").read_bytes() for out in ("a", "b"))
    assert first == second


def rewrite(protocol, code=None, **changes):
    """Change protocol.json, and the task's code if `code` is given."""
    entry = json.loads((protocol / "protocol.json").read_text()) | changes
    (protocol / "protocol.json").write_text(json.dumps(entry))
    if code is not None:
        (protocol / "task.py").write_text(code)


CODE = """
from burn.experiment.schema import Strict


class Options(Strict):
    weight: float = 1.0


def examine(network, data, options, seed, device, workers=0):
    from burn.evaluation.scores import Scores

    notes = {"lr": 0.5, "per class": {"a": 1.0}}
    return Scores("top1", {"top1": options.weight}, arrays={"rows": [seed, 3]}, notes=notes)
"""


@pytest.mark.parametrize("stages", ["all", "last"])
def test_the_last_stage_alone_or_all(ground, stages):
    protocol = ground / "linear-imagenet"
    rewrite(protocol, CODE, options={"weight": 7.0}, stages=stages)
    if stages == "last":  # no more than how it was trained is asked of any other
        (ground / "networks" / "binact" / "weights.safetensors").unlink()
    evaluate(protocol, ground / "networks", 4, ground / "out", Machine())
    found = json.loads((ground / "out" / "metrics.json").read_text())["stages"]
    assert set(found) == {"binact", "binary"}
    assert found["binary"]["top1"] == 7.0 and found["binary"]["notes"]["lr"] == 0.5
    assert ("top1" in found["binact"]) == (stages == "all")
    assert found["binact"]["epochs"] == 1 and found["binact"]["images_seen"] == 56
    with np.load(ground / "out" / "predictions.npz") as kept:
        examined = ["binact", "binary"] if stages == "all" else ["binary"]
        assert set(kept) == {f"{stage}.rows" for stage in examined}
        assert kept["binary.rows"].tolist() == [4, 3]


def test_a_score_that_is_no_number_is_refused(ground):
    protocol = ground / "linear-imagenet"
    rewrite(protocol, CODE, options={"weight": float("nan")}, stages="last")
    with pytest.raises(
        UserError, match="protocol linear-imagenet: found nan for top1; expected a number"
    ):
        evaluate(protocol, ground / "networks", 4, ground / "odd", Machine())
    assert not (ground / "odd").exists()


def test_a_protocol_has_the_tasks_options_and_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(graphs.ROOT)
    protocols = {
        "semi-1": {
            "task": "semi",
            "dataset": "imagenet",
            "stages": "all",
            "options": {"fraction": 0.01, "batch": 9},
        },
        "semi-10": {"task": "semi", "dataset": "imagenet", "stages": "last"},
    }
    params = parse(merge(plain(load("params.yaml")), {"protocols": protocols}))
    (tmp_path / "data").mkdir()
    facts = {"sha256": "0", "annotations": ["class"]}
    (tmp_path / "data" / "metrics.json").write_text(json.dumps(facts))
    code, fractions = graphs.ROOT / "burn" / "tasks" / "semi.py", {}
    for name in protocols:
        read = settings(params, "protocol", protocol=name)
        write_protocol(read, name, code, tmp_path / "data", tmp_path / name)
        entry = json.loads((tmp_path / name / "protocol.json").read_text())
        fractions[name] = entry["options"]["fraction"], entry["stages"], entry["options"]["batch"]
    assert fractions == {
        "semi-1": (0.01, "all", 9),
        "semi-10": (0.1, "last", params.tasks["semi"]["batch"]),
    }


@pytest.mark.parametrize(
    ("task", "fits"),
    [
        ("semi", ["class"]),
        ("detection", ["classes", "boxes"]),
        ("segmentation", ["classes", "masks"]),
    ],
)
def test_a_protocol_is_refused_where_the_set_has_not_what_its_task_needs(
    tmp_path, monkeypatch, task, fits
):
    monkeypatch.chdir(graphs.ROOT)
    protocol = {"mine": {"task": task, "dataset": "imagenet"}}
    read = settings(
        parse(merge(plain(load("params.yaml")), {"protocols": protocol})),
        "protocol",
        protocol="mine",
    )
    code, facts = graphs.ROOT / "burn" / "tasks" / f"{task}.py", tmp_path / "metrics.json"
    facts.write_text(json.dumps({"annotations": ["none"]}))
    with pytest.raises(
        UserError, match=r"^protocols.mine.dataset: found 'imagenet', which has none; allowed"
    ):
        write_protocol(read, "mine", code, tmp_path, tmp_path / "out")
    facts.write_text(json.dumps({"annotations": fits}))
    write_protocol(read, "mine", code, tmp_path, tmp_path / "out")
    before = (tmp_path / "out" / "protocol.json").read_text()
    facts.write_text(json.dumps({"annotations": fits, "files_sha256": "1"}))
    write_protocol(read, "mine", code, tmp_path, tmp_path / "out")
    assert (
        tmp_path / "out" / "protocol.json"
    ).read_text() != before  # other images: examined again
