"""What an evaluation leaves beside its scores."""

import json

import graphs
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from burn import models
from burn.data.prepare import prepare
from burn.evaluate import evaluate, write_protocol
from burn.params import Machine, load, merge, parse, plain, view

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
    prepare("imagenet", view(params, "prepare", dataset="imagenet"), data)
    code = graphs.ROOT / "burn" / "tasks" / "linear.py"
    read = view(params, "protocol", protocol="linear-imagenet")
    write_protocol(read, "linear-imagenet", code, data, protocol)
    network = models.build({"arch": "reactnet", "width": 0.25, "neck": False})
    for stage in STAGES:
        (tmp_path / "networks" / stage).mkdir(parents=True)
        save_file(
            models.flatten({"network": network}),
            tmp_path / "networks" / stage / "weights.safetensors",
        )
        facts = {"network": network.config, "precision": stage, "epochs": int(stage != "real")}
        facts |= {"method": "mine", "updates": 7, "images_seen": 56, "stand_in": True}
        (tmp_path / "networks" / stage / "metrics.json").write_text(json.dumps(facts))
    return tmp_path


def test_predictions_say_for_each_image_what_the_scores_say_of_all(ground):
    for out in ("a", "b"):
        evaluate(ground / "linear-imagenet", ground / "networks", 0, ground / out, Machine())
    found = json.loads((ground / "a" / "metrics.json").read_text())
    with np.load(ground / "a" / "predictions.npz") as predictions:
        assert set(predictions) == set(found["stages"]) == {"binact", "binary"}
        for stage, bits in predictions.items():
            scores = found["stages"][stage]
            right = np.unpackbits(bits, count=found["test_images"])
            assert len(bits) == 3 and 100 * right.mean() == pytest.approx(scores["top1"], abs=1e-3)
            assert (scores["updates"], scores["images_seen"]) == (7, 56)
            assert scores["stand_in"] is True and "correct" not in scores
    first, second = ((ground / out / "predictions.npz").read_bytes() for out in ("a", "b"))
    assert first == second
