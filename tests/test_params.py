"""params.yaml: what is refused and how it is said, what steps see of it, and what overlays leave."""

import os
import subprocess
import sys

import graphs
import pytest
import yaml

from burn.errors import UserError
from burn.experiment import plugins
from burn.experiment.overlay import merge
from burn.experiment.reading import load, parse
from burn.experiment.reads import READS, plain, settings
from burn.experiment.schema import Augment

FILE = graphs.ROOT / "params.yaml"
BASE = plain(load(FILE))
PRESETS = sorted((graphs.ROOT / "presets").glob("*.yaml"))
DATASETS = "imagenet, places205, voc07, cifar10, cifar100, cub200, birdsnap"
RECIPE = "train, augment, student, temperature, outputs, hidden, norm, information, target, target_lr, view, similarity"
STANDALONE, BURN = "methods.standalone.", "methods.distilled.burn."
UNTRAINED = {"file": "random", "epochs": {}}


def changed(key: str, value) -> dict:
    """params.yaml with the entry at the dotted `key` set."""
    change = value
    for part in reversed(key.split(".")):
        change = {part: change}
    return merge(BASE, change)


# key set, value, key named, found, allowed
REFUSED = [
    ("trian", {}, "trian", "unknown key", "run, seeds, machine, data"),
    ("train.lrr", 1.0, "train.lrr", "unknown key", "batch, accumulate, optimizer, lr"),
    ("data.sets.imagenet.sise", 1, "data.sets.imagenet.sise", "unknown key", "source, path, size"),
    ("protocols.linear-imagenet.a", 1, "protocols.linear-imagenet.a", "unknown", "task, dataset"),
    ("train.batch", "many", "train.batch", "'many'", "a valid integer"),
    ("train.batch", True, "train.batch", "True", "a valid integer"),
    ("train.lr", "fast", "train.lr", "'fast'", "a valid number"),
    ("train.lr", True, "train.lr", "True", "a valid number"),
    ("train.lr", float("inf"), "train.lr", "inf", "a finite number"),
    ("train.lr", "nan", "train.lr", "nan", "a finite number"),
    ("train.lr", 0, "train.lr", "0", "greater than 0"),
    ("train.warmup", 5, "train.warmup", "5", "less than or equal to 1"),
    ("train.batch", 0, "train.batch", "0", "greater than or equal to 1"),
    ("train.optimizer", "lamb", "train.optimizer", "'lamb'", "'adam' or 'sgd'"),
    ("train.precision", "fp16", "train.precision", "'fp16'", "'auto', 'bf16' or 'fp32'"),
    ("seeds", [], "seeds", "[]", "at least 1 item"),
    ("seeds", [0, 1, 0], "seeds", "[0, 1, 0]", "each seed once"),
    ("seeds", [2**32], "seeds.0", "4294967296", "less than 4294967296"),
    ("run", 3, "run", "3", "a valid string"),
    ("run", "../x", "run", "'../x'", "match pattern"),
    ("machine.device", "tpu", "machine.device", "'tpu'", "match pattern '^(auto|cpu|cuda"),
    ("augment.crop", [1.0, 0.5], "augment.crop", "[1.0, 0.5]", "two values in rising order"),
    ("augment.blur", [2.0, 0.1], "augment.blur", "[2.0, 0.1]", "two values in rising order"),
    ("augment.crop", [0.5], "augment.crop", "[0.5]", "at least 2 items"),
    ("augment.jitter", [1, 1, 1, 0.6], "augment.jitter", "[1, 1, 1, 0.6]", "at most 0.5"),
    ("teacher.recipe.augment", {"crpo": 1}, "teacher.recipe.augment.crpo", "unknown key", "size, crop, flip"),
    ("teacher.method", "dino", "teacher.method", "'dino'", "burn, byol, "),
    ("teacher.method", "s2bnn", "teacher.method", "'s2bnn'", "trains and needs no teacher itself"),
    ("teacher.method", "random", "teacher.method", "'random'", "a method that trains"),
    ("teacher.recipe.train", {"lr": 1.0}, "teacher.recipe.train", "{'lr': 1.0}", "teacher.train"),
    ("teacher.sha256", "ab", "teacher.sha256", "'ab'", "match pattern"),
    ("teacher.recipe.queue", 63, "teacher.recipe.queue", "63", "at least the 64 images of a step (train.batch x"),
    ("teacher.train.batch", 1025, "teacher.recipe.queue", "1024", "at least the 1025 images of a step"),
    ("machine.gpus", 17, "teacher.recipe.queue", "1024", "at least the 1088 images of a step"),
    ("teacher.network.arch", "reactnet", "teacher.network.arch", "'reactnet'", "'resnet50'"),
    ("student.stem", "half", "student.stem", "'half'", "'imagenet' or 'small'"),
    ("data.sets.mnist", {}, "data.sets.mnist.source", "'synthetic'", f"folder, images (synthetic ones are {DATASETS})"),
    ("data.sets.mnist", {"source": "official"}, "data.sets.mnist.source", "'official'", "folder, images (official"),
    ("pretrain_on", "voc12", "pretrain_on", "'voc12'", DATASETS + " (data.sets)"),
    ("protocols.linear-imagenet.dataset", "voc12", "protocols.linear-imagenet.dataset", "'voc12'",
     DATASETS + " (data.sets)"),
    ("protocols.linear-imagenet.task", "liner", "protocols.linear-imagenet.task", "'liner'",
     "linear"),
    ("tasks.liner", {}, "tasks.liner", "no such task", "detection, fewshot, linear, segmentation, semi"),
    ("tasks.base", {}, "tasks.base", "no such task", "detection, fewshot, linear, segmentation, semi"),
    ("protocols.linear-imagenet.stages", "first", "protocols.linear-imagenet.stages", "'first'",
     "'all' or 'last'"),
    ("protocols.linear-imagenet.options.epochs", 0, "protocols.linear-imagenet.options.epochs", "0",
     "greater than or equal to 1"),
    ("protocols.linear-imagenet.options", {"fraction": 0.1},
     "protocols.linear-imagenet.options.fraction", "unknown key", "epochs, batch, lr"),
    ("tasks.segmentation", {"head": "deeplab", "batch": 1}, "tasks.segmentation", "'batch': 1",
     "batch of at least 2 where head is deeplab"),
    ("tasks.semi.fraction", 1.5, "tasks.semi.fraction", "1.5", "less than or equal to 1"),
    ("tasks.fewshot.k", [], "tasks.fewshot.k", "[]", "at least 1 item"),
    ("tasks.linear.knn", [0], "tasks.linear.knn.0", "0", "greater than or equal to 1"),
    ("tasks.linear.epoch", 3, "tasks.linear.epoch", "unknown key", "epochs, batch, lr"),
    (BURN + "file", "brun", BURN + "file", "'brun'", "burn, "),
    (BURN + "file", "base", BURN + "file", "'base'", "burn, "),
    (BURN + "epochs.reel", 1, BURN + "epochs.reel", "unknown key", "real, binact, binary"),
    (BURN + "epochs", {"real": 0, "binact": 0, "binary": 0}, BURN + "epochs", "0 in every stage", "one that trains"),
    (STANDALONE + "mine", {"file": "s2bnn", "epochs": {"binary": 1}}, STANDALONE + "mine.file",
     "'s2bnn'", "under methods.distilled"),
    (BURN + "recipe.temprature", 1, BURN + "recipe.temprature", "unknown key", RECIPE),
    (BURN + "recipe.target", "moved", BURN + "recipe.target", "'moved'", "'joint' or 'frozen'"),
    (BURN + "recipe.train", {"lrr": 1}, BURN + "recipe.train.lrr", "unknown key", "batch, accum"),
    (BURN + "recipe.train", {"lr": -1}, BURN + "recipe.train.lr", "-1", "greater than 0"),
    (BURN + "recipe.train", 5, BURN + "recipe.train", "5", "a valid dictionary"),
    (BURN + "recipe.augment", {"crop": [1, 0]}, BURN + "recipe.augment.crop", "[1, 0]", "rising"),
    (BURN + "recipe.student", {"necc": True}, BURN + "recipe.student.necc", "unknown key", "arch, width, stem, gradient, latent, neck"),
    (BURN + "recipe.student", {"latent": "zero"}, BURN + "recipe.student.latent", "'zero'", "'kaiming' or 'small'"),
    (BURN + "recipe.student", {"arch": "resnet18"}, BURN + "recipe.student.arch", "'resnet18'", "'reactnet'"),
    (BURN + "recipe.student", {"width": 0}, BURN + "recipe.student.width", "0", "greater than 0"),
    ("train.schedule", "step", "train.schedule", "'step'", "'cosine' or 'linear'"),
    (STANDALONE + "mocov2_tuned.recipe.queue", 50, STANDALONE + "mocov2_tuned.recipe.queue", "50",
     "at least the 64 images"),
    (STANDALONE + "swav.recipe", {"queue": 90, "train": {"batch": 99}},
     STANDALONE + "swav.recipe.queue", "90", "at least the 99 images"),
    (STANDALONE + "swav.recipe.small_crop", [0.2, 0.1], STANDALONE + "swav.recipe.small_crop",
     "[0.2, 0.1]", "two values in rising order"),
    (STANDALONE + "burn", UNTRAINED, "methods", "'burn' in both families", "one"),
    (STANDALONE + "teacher", UNTRAINED, STANDALONE + "teacher", "'teacher'", "any name but"),
    (STANDALONE + "real", UNTRAINED, STANDALONE + "real", "'real'", "any name but teacher, real"),
    (STANDALONE + "Mine", UNTRAINED, STANDALONE + "Mine", "'Mine'", "match pattern"),
    (STANDALONE + "random.epochs.real", 2, STANDALONE + "random.epochs.real", "2",
     "0 (random trains nothing)"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "named", "found", "allowed"), REFUSED)
def test_a_refusal_is_one_line_with_file_key_found_and_allowed(key, value, named, found, allowed):
    with pytest.raises(UserError) as error:
        parse(changed(key, value), "mine.yaml")
    message = str(error.value)
    assert "\n" not in message and "Value error" not in message
    file, at, rest = message.split(": ", 2)
    before, after = rest.split("; allowed: ")
    assert (file, at) == ("mine.yaml", named)
    assert found in before and allowed in after


def test_a_missing_section_is_named():
    raw = {k: v for k, v in BASE.items() if k != "student"}
    with pytest.raises(UserError, match=r"^params.yaml: student: missing"):
        parse(raw)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n", "found list; expected a mapping of sections"),
        ("a: [1\n", "not YAML"),
        ("train: {lr: 1}\nseeds: [0]\ntrain: {}\n", "key 'train' twice in line 3"),
        (b"\xff\xfe\x00", "not YAML"),
        (None, "no such file; expected a params.yaml"),
    ],
)
def test_a_file_that_is_no_params_file_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "p.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)
    assert "\n" not in str(error.value)


def test_numbers_as_yaml_1_1_misreads_them_are_numbers():
    assert yaml.safe_load("lr: 3e-4") == {"lr": "3e-4"}
    assert parse(changed("train.lr", "3e-4")).train.lr == 3e-4
    parse(changed(BURN + "recipe.train", {"lr": "3e-4"}))


def test_the_largest_hue_is_half_a_turn():
    assert Augment(jitter=[0, 0, 0, 0.5]).jitter[3] == 0.5


def test_somebodys_broken_method_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "available", lambda package: ["mine"])
    with pytest.raises(UserError, match=r"^burn/methods/mine.py: found ModuleNotFoundError: "):
        plugins.recipe_model("methods", "mine", "Recipe")
    monkeypatch.setattr(plugins, "available", lambda package: ["random"])
    with pytest.raises(UserError, match=r"random.py: found AttributeError.*a class Options"):
        plugins.recipe_model("methods", "random", "Options")


# -- what steps see ------------------------------------------------------------------------------

NAMES = {"dataset": "imagenet", "method": "burn", "stage": "binact", "protocol": "linear-imagenet"}
NAMES |= {"family": "distilled", "task": "linear"}


@pytest.mark.parametrize("step", READS)
def test_a_step_sees_what_reads_lists_and_nothing_else(step):
    asked = {k: v for k, v in NAMES.items() if k not in ("family", "task")}
    expected = {}
    for short, key in READS[step].items():
        expected[short] = BASE
        for part in key.format(**NAMES).split("."):
            expected[short] = expected[short][part]
    assert plain(settings(parse(BASE), step, **asked)) == expected


def test_names_that_params_do_not_have_are_refused_with_those_they_have():
    known = ", ".join([*BASE["methods"]["standalone"], *BASE["methods"]["distilled"]])
    with pytest.raises(UserError) as error:
        settings(parse(BASE), "pretrain", method="bern", stage="real")
    assert str(error.value) == f"--method: found 'bern'; allowed: {known}"
    with pytest.raises(UserError, match=r"^--protocol: found 'x'; allowed: linear-imagenet, "):
        settings(parse(BASE), "protocol", protocol="x")


def test_merge_replaces_lists_and_leaves_its_arguments_alone():
    base = {"a": {"b": [1, 2], "c": 1}, "d": 2}
    overlay = {"a": {"b": [3], "e": None}, "d": {"f": 1}}
    assert merge(base, overlay) == {"a": {"b": [3], "c": 1, "e": None}, "d": {"f": 1}}
    assert base == {"a": {"b": [1, 2], "c": 1}, "d": 2}


def test_null_removes_methods_protocols_and_sets():
    out = parse(
        merge(
            BASE,
            {
                "methods": {"distilled": {"s2bnn": None}, "standalone": {"random": None}},
                "protocols": {"linear-cifar10": None},
                "data": {"sets": {"cifar10": None}},
            },
        )
    )
    assert "s2bnn" not in out.methods.distilled and "random" not in out.methods.standalone
    assert "linear-cifar10" not in out.protocols and "cifar10" not in out.data.sets
    assert parse(changed("data.sets.imagenet.path", None)).data.sets["imagenet"].path is None


def test_protocols_go_with_their_data_set_or_task():
    gone = {"data": {"sets": {"voc07": None}}, "tasks": {"semi": None}}
    left = parse(merge(BASE, gone)).protocols
    on = {
        name
        for name, p in BASE["protocols"].items()
        if p["dataset"] == "voc07" or p["task"] == "semi"
    }
    assert len(on) == 6 and set(left) == set(BASE["protocols"]) - on
    with pytest.raises(UserError, match="protocols: found none; allowed: one at least"):
        parse(merge(BASE, {"protocols": dict.fromkeys(BASE["protocols"])}))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.stem)
def test_presets_are_valid(preset):
    assert parse(merge(BASE, yaml.safe_load(preset.read_text())), preset.name).run != BASE["run"]


def test_reading_parameters_imports_no_torch_and_is_quick():
    code = "import sys, burn.__main__, burn.experiment.reading as p; p.load('params.yaml')"
    code += "; print([m for m in ('torch', 'torchvision', 'numpy') if m in sys.modules])"
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=graphs.ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
    after = os.times()  # seconds of the processor: whatever else runs here
    assert after.children_user - before.children_user < 2  # torch alone takes longer
