"""Equal terms: work is counted in passes of the student, and networks differ as a recipe says."""

import json
from functools import cache

import graphs
import pytest
import torch
import yaml
from baselines import TINY
from distilled import CPU, frozen_teacher
from reports import STAGES, edit, evaluation, grid, made, make_settings, put
from safetensors.torch import load_file
from trees import packed

from burn.errors import UserError
from burn.experiment.overlay import merge
from burn.experiment.plugins import load_code
from burn.experiment.reading import load, parse
from burn.experiment.reads import plain
from burn.experiment.schema import Augment, Machine, Student, Train
from burn.images.loader import Loader
from burn.images.store import Split
from burn.methods import burn, mocov2, s2bnn, supervised
from burn.networks import build
from burn.networks.binary import BinaryConv2d
from burn.pretrain import pretrain
from burn.report import terms
from burn.report.collect import collect, entry
from burn.training.method import Context

IMAGES, BATCH = 32, 8
PASSES = {"supervised": 1, "s2bnn": 1, "mocov2": 1, "byol": 2, "swav": 2, "burn": 2}
RECIPES = {module.__name__.split(".")[-1]: recipe for module, recipe in TINY.items()}
RECIPES |= {"burn": {"outputs": 20, "hidden": 24}}
# The method itself; at its end it leaves what it was shown, and what it began with.
WATCHED = """
import torch
from burn.methods.{name} import Method as Base, Recipe as Recipe
class Method(Base):
    def begin(self):
        super().begin()
        self.count, self.shown, stem = 0, [], self.networks["network"].conv
        self.begun = {{k: v.clone() for k, v in self.networks["network"].state_dict().items()}}
        def seen(module, inputs):
            self.count += len(inputs[0]) * (module is stem)  # copies of the student have hooks, too
        stem.register_forward_pre_hook(seen)
    def step(self, views, labels, step):
        self.shown.append((labels.clone(), views[0].clone()))
        return super().step(views, labels, step)
    def after_update(self, progress):
        super().after_update(progress)
        if progress == 1:
            state = {{"count": self.count, "shown": self.shown, "begun": self.begun}}
            torch.save(state, {folder!r} + "/watched.pt")
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return packed(tmp_path_factory.mktemp("data"), IMAGES)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return frozen_teacher(tmp_path_factory.mktemp("teacher"))


def train(data, teacher, folder, name="supervised", stage="binary", epochs=1, **more):
    """Run a stage; returns (what the method saw, metrics.json, the folder)."""
    folder.mkdir(parents=True)
    code, out = folder / "watched.py", folder / stage
    code.write_text(WATCHED.format(name=name, folder=str(folder)))
    view = {"student": Student(width=0.25), "train": Train(batch=BATCH, precision="fp32"),
            "augment": Augment(size=32), "recipe": RECIPES.get(name, {}), "epochs": epochs}  # fmt: skip
    teacher = teacher.dir if name in ("s2bnn", "burn") else None
    pretrain(view | more, name, stage, 4, code, data, teacher, None, out, Machine(device="cpu"))
    return torch.load(folder / "watched.pt"), json.loads((out / "metrics.json").read_text()), out


# -- an epoch --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PASSES)
def test_an_epoch_is_a_pass_of_the_student_for_each_image(data, teacher, tmp_path, name):
    seen, metrics, _ = train(data, teacher, tmp_path / "a", name, epochs=2)
    updates = 2 * IMAGES // BATCH // PASSES[name]
    assert seen["count"] == metrics["student_passes"] == 2 * IMAGES
    assert metrics["updates"] == updates and metrics["images_seen"] == BATCH * updates


def test_an_epoch_that_is_not_one_batch_is_refused(data, teacher, tmp_path):
    whole = {"train": Train(batch=IMAGES, precision="fp32")}
    with pytest.raises(UserError, match=r"^epochs.binary: found 1, not one batch; .* at least 2$"):
        train(data, teacher, tmp_path / "a", "burn", **whole)
    assert train(data, teacher, tmp_path / "b", "burn", epochs=2, **whole)[1]["updates"] == 1


def test_each_stage_of_a_seed_draws_its_own_batches(data, teacher, tmp_path):
    shown = {
        stage: train(data, teacher, tmp_path / stage, stage=stage)[0]["shown"] for stage in STAGES
    }
    again = train(data, teacher, tmp_path / "again", stage="binary")[0]["shown"]
    for (labels, views), (same, equal) in zip(shown["binary"], again, strict=True):
        assert torch.equal(labels, same) and torch.equal(views, equal)
    for one, other in (("real", "binact"), ("binact", "binary"), ("real", "binary")):
        orders = [torch.cat([labels for labels, _ in shown[s]]) for s in (one, other)]
        assert not torch.equal(*orders)
        assert not any(torch.equal(a, b) for (_, a), (_, b) in zip(shown[one], shown[other]))


# -- recipe.student --------------------------------------------------------------------------------

LATENT = "blocks.0.conv3.weight"


def test_the_student_of_a_recipe_overrides_the_shared_one(data, teacher, tmp_path):
    own = {"gradient": "quadratic", "latent": "small", "neck": True}
    usual, metrics, out = train(data, teacher, tmp_path / "a")
    assert metrics["network"] == {"arch": "reactnet", "width": 0.25, "stem": "imagenet",
                                  "neck": False, "gradient": "clipped"}  # fmt: skip
    assert usual["begun"][LATENT].min() < -0.01 and "network.neck.weight" not in load_file(
        out / "weights.safetensors"
    )
    seen, metrics, out = train(data, teacher, tmp_path / "b", recipe={"student": own})
    assert metrics["network"]["gradient"] == "quadratic" and metrics["network"]["neck"] is True
    network = build.load(out)
    assert {m.gradient for m in network.modules() if isinstance(m, BinaryConv2d)} == {"quadratic"}
    assert "neck.weight" in seen["begun"]
    assert network(torch.randn(4, 3, 32, 32)).min() == 0  # after the neck's ReLU
    latent = [v for k, v in seen["begun"].items() if k.endswith(("conv3.weight", "conv1.weight"))]
    assert len(latent) == 26
    for weights in latent:
        assert 0 <= weights.min() < 2e-4 and 8e-4 < weights.max() <= 1e-3


def test_the_shared_student_is_small_unless_a_recipe_says_otherwise(data, teacher, tmp_path):
    shared = {"student": Student(width=0.25, latent="small")}
    usual, _, _ = train(data, teacher, tmp_path / "usual")
    seen, _, _ = train(data, teacher, tmp_path / "a", **shared)
    # all else begins as without: the stem is no binary convolution
    assert torch.equal(seen["begun"]["conv.weight"], usual["begun"]["conv.weight"])
    assert 0 <= seen["begun"][LATENT].min() < seen["begun"][LATENT].max() <= 1e-3
    kaiming = {"recipe": {"student": {"latent": "kaiming"}}}
    seen, _, _ = train(data, teacher, tmp_path / "b", **shared | kaiming)
    assert seen["begun"][LATENT].min() < -0.01


# -- the rows there are ----------------------------------------------------------------------------

FILES = ("params.yaml", "presets/real.yaml", "presets/ablation.yaml")
LARGEST = 50_000  # images, where a preset takes all there are


@cache
def experiment(file):
    base = plain(load(graphs.ROOT / "params.yaml"))
    if file == "params.yaml":
        return parse(base)
    return parse(merge(base, yaml.safe_load((graphs.ROOT / file).read_text())))


def rows(params):
    """name -> (entry, the module of its file) of each row that trains."""
    every = params.methods.standalone | params.methods.distilled
    trained = {name: row for name, row in every.items() if any(n for _, n in row.epochs)}
    return {
        name: (row, load_code(graphs.ROOT / "burn" / "methods" / f"{row.file}.py"))
        for name, row in trained.items()
    }


@pytest.mark.parametrize("file", FILES)
def test_every_trained_row_gets_the_same_passes(file):
    params = experiment(file)
    images = params.data.sets[params.pretrain_on].train or LARGEST
    epochs, passes = {}, {}
    for name, (row, module) in rows(params).items():
        cfg = Train.model_validate(params.train.model_dump() | row.recipe.get("train", {}))
        split = Split(labels=torch.zeros(images), images=torch.zeros(images, 0))
        loader = Loader(split, params.augment, cfg.batch, module.Method.views, 0, CPU)
        each, steps = module.Method.student_passes, 0
        for _, count in row.epochs:
            steps += count * loader.steps // each // cfg.accumulate * cfg.accumulate
        epochs[name] = sum(count for _, count in row.epochs)
        passes[name] = steps * cfg.batch * each
    assert len(epochs) >= 9 and len(set(epochs.values())) == 1, epochs
    assert len(set(passes.values())) == 1, passes


@pytest.mark.parametrize(
    ("file", "others"), [*((f, set()) for f in FILES[:2]), (FILES[2], {"necked"})]
)
def test_none_but_the_student_of_a_recipe_changes_what_is_probed(file, others, teacher):
    params, differ = experiment(file), set()
    shared = build.network(params.student.model_dump(exclude={"latent"}))
    for name, (row, module) in rows(params).items():
        own = row.recipe.get("student", {})
        student = Student.model_validate(params.student.model_dump() | own)
        network = build.network(student.model_dump(exclude={"latent"}))
        context = Context(network, teacher.frozen, 10, 100)
        probed = module.Method(module.Recipe(**row.recipe), context).networks["network"]
        same = probed.config == shared.config and [
            (k, v.shape) for k, v in probed.state_dict().items()
        ] == [(k, v.shape) for k, v in shared.state_dict().items()]
        assert same or own, name
        if not same:
            differ.add(name)
    assert differ == others


def test_methods_do_not_say_how_the_student_is_built():
    for module in (burn, mocov2, s2bnn, supervised, *TINY):
        assert not {"neck", "gradient", "latent", "width"} & set(dir(module.Method)), module


# -- the table -------------------------------------------------------------------------------------


def caption(out):
    return (out / "tables/terms.md").read_text(encoding="utf-8").splitlines()[-1]


def test_the_table_of_terms_says_whether_they_are_equal(results):
    out = made(results)
    table = grid(out / "tables/terms.md")
    assert table[0] == [
        "method",
        "student passes",
        "updates",
        "images",
        "seconds",
        "settings of its own",
    ]
    assert table[1:] == [
        ["random", "0", "0", "0", "–", "–"],
        ["supervised", "432", "18", "144", "–", "–"],
        ["s2bnn", "432", "27", "216", "–", "–"],
        ["burn", "432", "27", "216", "–", "–"],
    ]
    assert "All trained rows have the same passes." in caption(out)
    page = (out / "report.md").read_text(encoding="utf-8")
    assert page.index("## Cost") < page.index("## Terms of training") < page.index("## Training")
    for protocol in ("linear-imagenet", "linear-cifar10"):
        for seed in range(3):
            edit(results, protocol, "burn", seed,
                 lambda found: found["stages"]["binary"].update(student_passes=145))  # fmt: skip
    out = made(results)
    assert grid(out / "tables/terms.md")[4][1] == "433"
    assert "Rows differ in their passes." in caption(out) and "same passes" not in caption(out)


def test_seconds_are_those_of_all_stages_and_a_mean_over_seeds(results):
    settings = make_settings()
    for method, resumed in (("s2bnn", None), ("burn", 3.0)):
        for seed in range(3):
            for i, stage in enumerate(STAGES):
                seconds = resumed if (seed, stage) == (1, "binary") else 10.0 * (i + seed)
                told = {"training_seconds": seconds} if seconds else {}
                if resumed is None and (seed, stage) == (1, "binary"):
                    told = {"training_seconds": None}
                path = results / f"pretrain/{method}/seed{seed}/{stage}/provenance.json"
                path.write_text(json.dumps({"params": {}, "versions": {}, **told}))
    lines = terms.records(settings, collect(settings, results), results).set_index("method")
    assert lines.seconds["burn"] == pytest.approx((30 + (10 + 20 + 3) + 90) / 3)
    assert lines.seconds.isna().to_dict() == {
        "random": False, "supervised": False, "s2bnn": True, "burn": False
    }  # fmt: skip
    body = {line[0].text: line[4].text for line in terms.grid(lines.reset_index()).lines}
    assert body == {"random": "–", "supervised": "–", "s2bnn": "–", "burn": "51"}


def test_what_a_recipe_says_of_the_shared_sections_is_told(results):
    settings = make_settings()
    entry(settings, "s2bnn").recipe |= {
        "temperature": 0.1,
        "augment": {"crop": [0.2, 1.0]},
        "train": {"lr": 0.1, "schedule": "linear"},
        "student": {"neck": True},
    }
    lines = terms.records(settings, collect(settings, results), results).set_index("method")
    assert lines.overrides.to_dict() == {
        "random": "", "supervised": "", "burn": "",
        "s2bnn": "student.neck True, train.lr 0.1, train.schedule linear, augment.crop [0.2, 1.0]",
    }  # fmt: skip


def test_a_run_that_does_not_say_its_passes_has_none(results):
    for protocol in ("linear-imagenet", "linear-cifar10"):
        for method in ("burn", "s2bnn", "supervised", "random"):
            for seed in range(3):
                found = evaluation(protocol, method, seed, 50)
                for stage in found["stages"].values():
                    del stage["student_passes"]
                put(results, found)
    assert [row[1] for row in grid(made(results) / "tables/terms.md")[1:]] == ["–"] * 4
