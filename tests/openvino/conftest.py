"""A network and its export, for each file of tests here."""

import cli
import deployed
import pytest
from deployed import exported, left


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


@pytest.fixture(scope="module")
def binary(place):
    """(network, folder of its export, metrics) of a fully binary network."""
    network = deployed.network()
    folder = left(place / "binary" / "net", network)
    return network, place / "binary" / "out", exported(place, folder, place / "binary" / "out")
