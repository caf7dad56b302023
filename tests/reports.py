"""Evaluation trees made up for the tests of the report: no number below comes from any experiment."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from burn import places
from burn.evaluation.scores import Scores
from burn.experiment.schema import Methods, Protocol, Report

FULL, NO_REAL, NONE = (3, 3, 4), (0, 5, 5), (0, 0, 0)
STAGES = ("real", "binact", "binary")
# Top-1 after the last stage on imagenet, for seeds 0, 1, 2; cifar10 lies 5 lower.
TOP1 = {
    "random": (20.0, 21.0, 22.0),
    "supervised": (60.0, 62.0, 64.0),
    "s2bnn": (40.0, 41.0, 45.0),
    "burn": (50.0, 51.0, 52.0),
    "teacher": (70.0, 70.5, 71.0),
}
SETS = {"linear-imagenet": ("imagenet", True), "linear-cifar10": ("cifar10", False)}
COLUMNS = {
    "linear-voc07": {"task": "linear", "dataset": "voc07"},
    "semi-1": {"task": "semi", "dataset": "imagenet", "options": {"fraction": 0.01}},
    "semi-10": {"task": "semi", "dataset": "imagenet", "stages": "last"},
    "fewshot-voc07": {"task": "fewshot", "dataset": "voc07", "stages": "last"},
}
KS = (1, 4, 16)


def make_settings(
    seeds=(0, 1, 2), distilled=("s2bnn", "burn"), protocols=tuple(SETS), title="A title"
):
    def method(file, epochs):
        return {"file": file, "epochs": dict(zip(STAGES, epochs, strict=True)), "recipe": {}}

    # supervised stands before random here: the report, not params.yaml, puts the floor first
    standalone = {"supervised": method("supervised", NO_REAL), "random": method("random", NONE)}
    learned = {name: method(name.split("_")[0], FULL) for name in distilled}
    return {
        "seeds": list(seeds),
        "pretrain_on": "imagenet",
        "methods": Methods.model_validate({"standalone": standalone, "distilled": learned}),
        "protocols": {p: Protocol(task="linear", dataset=SETS[p][0]) for p in protocols},
        "report": Report(title=title),
    }


def evaluation(protocol, method, seed, top1, **changes):
    def stage(below, **more):
        value = top1 - below
        values = {"top1": value, "top5": value + 20, "knn20": value - 3, "knn200": value - 4}
        return Scores("top1", values).entry() | more

    common = {"collapsed": False, "train_images": 4000, "stand_in": True}
    spent = {"random": (0, 0, 0), "supervised": (9, 72, 216)}.get(method, (9, 72, 144))
    common |= dict(zip(("updates", "images_seen", "student_passes"), spent))
    if method == "teacher":
        stages = {"teacher": stage(0, epochs=30, precision="fp", **common)}
    else:
        trained = ("binact", "binary") if method == "supervised" else STAGES
        counts = {"random": NONE, "supervised": NO_REAL}.get(method, FULL)
        stages = {
            name: stage(2 - STAGES.index(name), epochs=counts[STAGES.index(name)], **common)
            for name in sorted(trained, reverse=True)
        }
    dataset, stand_in = SETS[protocol]
    names = {"protocol": protocol, "task": "linear", "dataset": dataset, "stand_in": stand_in}
    sizes = {"classes": 10, "train_images": 4000, "test_images": 1000}
    return {**names, **sizes, "method": method, "seed": seed, "stages": stages} | changes


def place(results, protocol, method, seed):
    """metrics.json of an evaluation."""
    return places.evaluation(results, protocol, method, seed) / places.METRICS


def put(results, found):
    """An evaluation, with predictions that are right for the first top1 % of the images."""
    path = place(results, found["protocol"], found["method"], found["seed"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    images = np.arange(found["test_images"])
    tops = {name: stage.get("top1", 0) for name, stage in found["stages"].items()}
    bits = {k: np.packbits(images < v / 100 * len(images)) for k, v in tops.items()}
    np.savez(path.with_name("predictions.npz"), **bits)


def put_cost(results, method):
    """A made-up cost, the same for every student; and what the network is exported as."""
    put_export(results, method)
    network = {"arch": "reactnet", "width": 0.25, "stem": "imagenet", "neck": False}
    precisions = ("real", "binact", "binary")
    if method == "teacher":
        network, precisions = {"arch": "resnet18", "width": 0.25, "stem": "half"}, ("fp",)
    counts = [
        {"precision": precision, "pixels": pixels, "classes": classes, "width": width}
        | {"stem": "imagenet", "parameters": 2_000_000, "bytes": 500_000}
        | {"bops": 6400 * pixels, "flops": 10_000_000, "ops": 10_000_000.0 + 100 * pixels}
        for precision in precisions
        for pixels, width, classes in ((32, 0.25, 0), (224, 0.25, 0), (224, 1.0, 1000))
    ]
    edit_cost(results, lambda known: known | {method: {"network": network, "counts": counts}})


def put_export(results, method, seeds=(0, 1, 2)):
    """A made-up export of each seed."""
    forms = {"packed": (1, 0.0), "openvino": (1, 0.5), "qonnx": (1, 0.25)}
    if method == "teacher":
        forms = {"packed": (32, 0.0), "openvino": (32, 0.0), "openvino-int8": (8, 2.5)}
    for seed in seeds:
        found = {"method": method, "pixels": 32, "images": 1000, "dataset": "imagenet"}
        found["formats"] = {
            form: {"bits": bits, "bytes": 100_000 * bits, "difference": off * (1 + seed)}
            | {"apart": off, "agreement": 100 - off}
            for form, (bits, off) in forms.items()
        }
        path = places.exported(results, method, seed) / places.METRICS
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))


def edit_cost(results, change):
    """`change` takes what is known of every method and returns what shall be."""
    path = places.cost(results) / places.METRICS
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(change(known)))


def put_curves(results, method, seeds=(0, 1, 2)):
    """Made-up training curves; of a stage that was not trained, the heading alone."""
    stages, counts = STAGES, {"random": NONE, "supervised": NO_REAL}.get(method, FULL)
    if method == "teacher":
        stages, counts = [""], [30]
    for seed in seeds:
        for stage, count in zip(stages, counts):
            folder = places.network(results, method, seed, stage)
            if method == "teacher":
                folder = places.teacher(results, seed)
            folder.mkdir(parents=True, exist_ok=True)
            rows = [f"{20 * i},0.1,{20 * i},{5 / i},{1 - i / 9}\n" for i in range(1, count + 1)]
            (folder / "curve.csv").write_text("update,lr,images,loss,balance\n" + "".join(rows))


def edit(results, protocol, method, seed, change):
    """`change` changes the content of an evaluation's metrics.json."""
    path = place(results, protocol, method, seed)
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def make_real(results):
    """Say of the stand-in that it is the real set."""
    for path in results.glob("eval/linear-imagenet/*/seed*/metrics.json"):
        path.write_text(path.read_text().replace('"stand_in": true', '"stand_in": false'))


def blank(base):
    """An empty figure in the place of a drawn one."""
    Image.new("RGB", (1, 1)).save(base.with_suffix(".png"))


@pytest.fixture
def drawn():
    """Asked for by the tests that look at figures: drawing takes most of a report's time."""


@pytest.fixture
def results(tmp_path, request, monkeypatch):
    """A results folder with all that the report of `make_settings()` reads; nothing is drawn."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("burn.report.style.save", lambda _, base: blank(base))
    for protocol in SETS:
        for method, values in TOP1.items():
            for seed, value in enumerate(values):
                value -= 5 * (protocol == "linear-cifar10")
                put(tmp_path, evaluation(protocol, method, seed, value))
    for method in TOP1:
        put_cost(tmp_path, method)
        put_curves(tmp_path, method)
    return tmp_path


def made(results, settings=None, name="report"):
    """The folder of a report that was written."""
    from burn.report import report

    report(settings or make_settings(), results, results / name)
    return results / name


def lines_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def find(lines, **keys):
    (line,) = [x for x in lines if all(x[k] == v for k, v in keys.items())]
    return line


def grid(path):
    """The cells of a Markdown table, headings first."""
    lines = [x for x in path.read_text(encoding="utf-8").splitlines() if x.startswith("|")]
    cells = [[c.strip() for c in x.strip("|").split("|")] for x in lines]
    assert len({len(row) for row in cells}) == 1
    return [cells[0], *cells[2:]]


def scored(task, top1):
    """What a stage's entry says of an examination by another task."""
    if task == "semi":
        notes = {"lr": 0.1, "held_out": {"a": 3.0}}
        return Scores("top1", {"top1": top1 - 1, "top5": top1 + 9}, notes=notes).entry()
    shots = {f"map_k{k}": k for k in KS if task == "fewshot"}
    values = {"map": top1 / 2} | {name: top1 / 2 + k for name, k in shots.items()}
    return Scores("map", values, {name: k / 10 for name, k in shots.items()}).entry()


def settings_of(results, wanted=tuple(COLUMNS), **options):
    """Settings with `wanted` beside the linear protocols, and their evaluations in `results`."""
    settings = make_settings(**options)
    for name in wanted:
        protocol = settings["protocols"][name] = Protocol.model_validate(COLUMNS[name])
        for method, values in TOP1.items():
            for seed, value in enumerate(values):
                found = evaluation("linear-cifar10", method, seed, value)
                found |= {"protocol": name, "task": protocol.task, "dataset": protocol.dataset}
                last = "teacher" if method == "teacher" else "binary"
                for stage, numbers in found["stages"].items():
                    for key in (*numbers["scores"], "scores"):
                        del numbers[key]
                    if protocol.stages == "all" or stage == last:
                        numbers |= scored(protocol.task, value)
                put(results, found)
    return settings


def with_two_tasks(results):
    """Settings with few-shot beside linear evaluation, and its evaluations in `results`."""
    settings, protocol = make_settings(), "fewshot-cifar10"
    settings["protocols"][protocol] = Protocol(task="fewshot", dataset="cifar10")
    for method, values in TOP1.items():
        for seed, value in enumerate(values):
            found = evaluation("linear-cifar10", method, seed, value)
            found |= {"protocol": protocol, "task": "fewshot"}
            stages = found["stages"].items()
            found["stages"] = {k: Scores("map", {"map": s["top1"]}).entry() for k, s in stages}
            put(results, found)
    return settings
