"""A method or a task of one's own: one file, one entry, and it is in both DAGs and the tables."""

import subprocess

import graphs
import pandas
import pytest
import yaml
from conftest import ENVIRONMENT

from burn.experiment.overlay import merge
from burn.experiment.reading import load
from burn.experiment.reads import plain

pytestmark = pytest.mark.slow

COLOUR = '''"""Predict the mean colour of a view."""

from burn.training.method import Method as Base
from burn.training.method import Recipe as BaseRecipe
from burn.training.method import Step
from burn.experiment.schema import Positive


class Recipe(BaseRecipe):
    strength: Positive = 1.0


class Method(Base):
    views = 1

    def __init__(self, recipe, context):
        super().__init__(recipe, context)
        from torch import nn

        self.networks["head"] = nn.Linear(context.network.dim, 3)

    def step(self, views, labels, step):
        predicted = self.networks["head"](self.networks["network"](views[0])).float()
        loss = (predicted - views[0].mean((2, 3))).square().mean()
        return Step(self.recipe.strength * loss, outputs=predicted)
'''
BRIGHTNESS = '''"""How many test images are brighter than the mean of the training images."""

from burn.evaluation.scores import Scores
from burn.experiment.schema import Positive, Strict


class Options(Strict):
    factor: Positive = 1.0


def examine(network, data, options, seed, device, workers=0):
    train, test = (data.split(name).images.float() for name in ("train", "test"))
    bright = test.mean((1, 2, 3)) > options.factor * train.mean()
    return Scores("rank_accuracy", {"rank_accuracy": round(100 * float(bright.float().mean()), 4)})
'''
ENTRY = {
    "file": "colour",
    "epochs": {"real": 0, "binact": 0, "binary": 1},
    "recipe": {"strength": 2.0},
}


def run(folder, *command):
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def test_a_method_and_a_task_are_one_file_and_one_entry_each(tmp_path):
    folder = graphs.copy(tmp_path / "repo")
    smoke = yaml.safe_load((graphs.ROOT / "presets" / "smoke.yaml").read_text())
    raw = graphs.effective(merge(plain(load(graphs.ROOT / "params.yaml")), smoke))
    raw["methods"] = {"standalone": {"colour": ENTRY}, "distilled": {}}
    raw["tasks"]["brightness"] = {"factor": 0.5}
    linear = raw["protocols"]["linear-imagenet"]
    bright = {"task": "brightness", "dataset": "imagenet"}
    raw["protocols"] = {"linear-imagenet": linear, "bright": bright}
    del raw["data"]["sets"]["voc07"]
    graphs.write_params(folder, raw)
    (folder / "burn" / "tasks" / "brightness.py").write_text(BRIGHTNESS)
    (folder / "burn" / "methods" / "colour.py").write_text(COLOUR)

    stages = run(folder, "dvc", "stage", "list", "--name-only").split()
    trained = {f"standalone-{stage}@colour-0" for stage in ("real", "binact", "binary")}
    evaluated = {f"evaluate-standalone@{p}-colour-0" for p in ("linear-imagenet", "bright")}
    assert trained | {"method-standalone@colour", "protocol@bright"} | evaluated <= set(stages)

    run(folder, "snakemake", "--cores", "2", "all")
    tables = folder / "results" / "smoke" / "report" / "tables"
    table = pandas.read_csv(tables / "brightness.csv")
    assert set(table["metric"]) == {"rank_accuracy"}
    assert table[table["method"] == "colour"]["mean"].between(50, 100).all()
    table = pandas.read_csv(tables / "linear.csv")
    row = table[table["method"] == "colour"]
    assert set(row["metric"]) >= {"top1", "knn20"} and row["mean"].between(0, 100).all()
