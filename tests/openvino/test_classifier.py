"""`python -m burn export --classifier`: a linear evaluation becomes the last layer of what is exported."""

import json
import subprocess

import cli
import pytest

from burn.artifacts import write_json
from burn.deploy import runtime
from burn.deploy.c.compiled import Compiled
from burn.images.augment import plain
from burn.images.store import open_data


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
