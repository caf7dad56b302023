"""Released checkpoints: every layout, exact; what is refused; rows and teachers made of them."""

import collections
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import graphs
import pytest
import released
import torch
import yaml
from safetensors.torch import load_file
from test_cli import call, error_of, pretrain, teacher, write

import burn
from burn.artifacts import file_hash
from burn.errors import UserError
from burn.experiment.overlay import merge
from burn.experiment.reading import load, parse
from burn.experiment.reads import plain, settings, text
from burn.networks import build
from burn.released.layouts import LAYOUTS
from burn.released.read import read

STEM = 8  # channels of the reduced ReActNet, a quarter of the published one
DIM = 32 * STEM
STUDENTS = {
    "stage": ("BURN stage file", ["network", "classifier", "target"]),
    "training": ("BURN training checkpoint", ["network", "classifier", "target"]),
    "backbone": ("BURN backbone", ["network"]),
    "s2bnn": ("S2-BNN checkpoint", ["network", "head"]),
}
TEACHERS = {
    "moco": ("MoCo v2 checkpoint", ["network", "head"]),
    "fp backbone": ("FP backbone", ["network"]),
}
FORMATS = {"s2bnn": "s2bnn", "moco": "moco"}  # the others: burn


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def nets():
    """Networks as released, random."""
    made = {
        "k": released.randomise(released.ReActNetA(STEM), 1),
        "s2bnn": released.randomise(released.ReActNetA(STEM, both=True), 2),
        "h": released.randomise(released.resnet50(), 3),
        "l": released.randomise(released.Classifier(DIM), 4),
        "g": released.randomise(released.Classifier(2048), 5),
    }
    for network in made.values():
        network.requires_grad_(False)
    made["bare h"] = released.resnet50(head=False).eval()
    made["bare h"].load_state_dict(made["h"].state_dict(), strict=False)
    return made


def held(nets, kind, module=True):
    student = nets["s2bnn" if kind == "s2bnn" else "k"]
    resnet = nets["h" if kind == "moco" else "bare h"]
    return released.content(kind, student, resnet, (nets["l"], nets["g"]), module)


@pytest.fixture
def file(nets, tmp_path):
    return lambda kind, module=True: released.save(tmp_path, held(nets, kind, module))


def images(size=64, seed=0):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


def same(network, reference, x):
    """Whether two networks agree to float rounding.

    In double precision: in single, an activation within 1e-7 of 0 may fall on its other side.
    """
    with torch.no_grad():
        got, expected = network.double()(x.double()), reference.double()(x.double())
    network.float(), reference.float()
    assert got.shape == expected.shape and expected.std() > 0.1
    assert (expected[0] - expected[1]).abs().max() > 0.01, "the images must matter"
    return torch.allclose(got, expected, rtol=0, atol=1e-9)


def test_the_files_here_have_the_keys_of_the_released_ones():
    with torch.device("meta"):
        k, s2bnn = released.ReActNetA(), released.ReActNetA(both=True)
        h, bare = released.resnet50(), released.resnet50(head=False)
        classifiers = released.Classifier(1024), released.Classifier(2048)
        for kind, expected in released.LISTINGS.items():
            student, resnet = s2bnn if kind == "s2bnn" else k, h if kind == "moco" else bare
            module = kind in ("s2bnn", "moco")  # the others were listed without
            made = released.content(kind, student, resnet, classifiers, module, queue=65536)
            assert released.listing(made) == expected, kind


# -- burn.load -----------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [True, False], ids=["module.", "no prefix"])
@pytest.mark.parametrize("kind", STUDENTS)
def test_a_binary_network_is_the_released_one(nets, file, kind, module):
    path, reference = file(kind, module), nets["s2bnn" if kind == "s2bnn" else "k"]
    for precision in ("binary", "binact", "real"):
        network = burn.load(path, precision=precision)
        assert not network.training and not any(p.requires_grad for p in network.parameters())
        assert same(network, reference.at(precision), images()), precision
    assert same(burn.load(str(path)), reference.at("binary"), images())
    with torch.no_grad():
        assert torch.allclose(burn.load(path)(images()), reference(images()), atol=1e-5)


@pytest.mark.parametrize("module", [True, False], ids=["module.", "no prefix"])
@pytest.mark.parametrize("kind", TEACHERS)
def test_a_floating_point_network_is_the_released_one(nets, file, kind, module):
    path = file(kind, module)
    with torch.no_grad():
        got, expected = burn.load(path)(images()), released.pooled(nets["h"], images())
    assert got.shape == (2, 2048) and torch.allclose(got, expected, atol=1e-5 * expected.max())
    with pytest.raises(UserError, match="precision: found 'binary'; allowed: none, .*file.pth"):
        burn.load(path, precision="binary")


def test_at_full_width(tmp_path):
    reference = released.randomise(released.ReActNetA())
    network = burn.load(released.save(tmp_path, released.content("backbone", reference)))
    assert network.config["width"] == 1 and network.dim == 1024
    assert same(network, reference, images(32))


def test_the_file_does_not_say_its_precision_and_the_error_says_so(file):
    with pytest.raises(UserError, match="found 'fp'; .*binact for a file of stage 1, binary"):
        burn.load(file("stage"), precision="fp")


def test_a_zero_becomes_plus_one(nets, tmp_path):
    whole = held(nets, "backbone", module=False)
    weight = "feature.3.binary_3x3.weight"
    zeros = whole["state_dict"][weight].clone()
    zeros[:, 0] = 0
    with_zeros = {"state_dict": whole["state_dict"] | {weight: zeros}}
    tiny = torch.where(zeros == 0, 1e-30, zeros)
    reference = released.ReActNetA(STEM).eval().requires_grad_(False)
    reference.load_state_dict(whole["state_dict"] | {weight: tiny})
    path = released.save(tmp_path, with_zeros)
    assert same(burn.load(path), reference, images())
    assert call("import-checkpoint", "--input", path, "--out", tmp_path / "out") == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["zero_weights"] == (zeros == 0).sum() == 128 / 32 * STEM * 9


def test_importing_burn_imports_no_torch():
    code = "import burn, sys; sys.exit('torch' in sys.modules or not callable(burn.load))"
    assert subprocess.run([sys.executable, "-c", code], cwd=graphs.ROOT).returncode == 0


# -- import-checkpoint ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*STUDENTS, *TEACHERS])
def test_an_import_is_an_artifact_folder(nets, file, tmp_path, kind, capsys):
    path, out = file(kind), tmp_path / "Their Net"
    name, networks = (STUDENTS | TEACHERS)[kind]
    for format in ("auto", FORMATS.get(kind, "burn")):
        assert call("import-checkpoint", "--format", format, "--input", path, "--out", out) == 0
    assert f"{name}: {', '.join(networks)}" in capsys.readouterr().out
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["layout"] == name and metrics["sha256"] == file_hash(path)
    assert set(build.read_weights(out)) == set(networks)
    with torch.no_grad():
        assert torch.equal(burn.load(out)(images()), burn.load(path)(images()))
    overlay = yaml.safe_load((out / "overlay.yaml").read_text())
    params = parse(merge(plain(load(graphs.ROOT / "params.yaml")), overlay))
    if kind in TEACHERS:
        assert metrics["precision"] == "fp" and metrics["stage"] == "teacher"
        assert params.teacher.sha256 == file_hash(out / "weights.safetensors")
        assert params.teacher.checkpoint == str(out / "weights.safetensors")
        assert params.teacher.network.model_dump() == metrics["network"]
    else:
        row = params.methods.standalone["their_net"]
        assert row.recipe["checkpoint"] == str(out / "weights.safetensors")
        assert row.recipe["sha256"] == file_hash(out / "weights.safetensors")
        assert row.recipe["precision"] == metrics["precision"] == "binary"


def test_an_import_at_another_precision(nets, file, tmp_path):
    out = tmp_path / "out"
    words = ["--precision", "binact", "--out", out]
    assert call("import-checkpoint", "--input", file("stage"), *words) == 0
    assert same(burn.load(out), nets["k"].at("binact"), images())
    assert same(burn.load(out, precision="binary"), nets["k"].at("binary"), images())


def test_heads_and_classifiers_come_along(nets, file, tmp_path):
    x = torch.randn(5, DIM), torch.randn(5, 2048)
    heads = {
        "training": {"classifier": (nets["l"], x[0]), "target": (nets["g"], x[1])},
        "stage": {"classifier": (nets["l"], x[0]), "target": (nets["g"], x[1])},
        "s2bnn": {"head": (nets["s2bnn"].fc, x[0])},
        "moco": {"head": (nets["h"].fc, x[1])},
    }
    for kind, parts in heads.items():
        found = read(file(kind)).networks
        for name, (reference, features) in parts.items():
            assert torch.allclose(found[name](features), reference(features), atol=1e-5), kind


# -- what is refused -----------------------------------------------------------------------------


class Explosive:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def refusal(tmp_path, content, capsys, *words, **options):
    """The error line that a file of `content` gets, after its name."""
    path = tmp_path / "bad.pth"
    torch.save(content, path, **options)
    assert call("import-checkpoint", "--input", path, "--out", tmp_path / "out", *words) == 2
    assert not (tmp_path / "out").exists()
    return error_of(capsys).removeprefix(f"{path}: ")


@pytest.mark.parametrize("zipped", [True, False])
def test_anything_but_tensors_is_refused_by_name(nets, tmp_path, capsys, zipped):
    whole = held(nets, "backbone")
    for extra, name in (
        (Explosive(tmp_path / "exploded"), "io.open"),
        (collections.UserDict(a=1), "collections.UserDict"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ):
        said = refusal(tmp_path, whole | {"author": extra}, capsys,
                       _use_new_zipfile_serialization=zipped)  # fmt: skip
        assert said == f"refused: found {name} in it; allowed: tensors and plain containers"
    assert not (tmp_path / "exploded").exists()


def test_what_is_no_checkpoint_is_one_line(tmp_path, capsys):
    (tmp_path / "text").write_text("hello")
    for path, message in {
        tmp_path / "gone": "no such file; expected a checkpoint",
        tmp_path / "text": "not a checkpoint that can be loaded safely: ",
    }.items():
        assert call("import-checkpoint", "--input", path, "--out", tmp_path / "out") == 2
        assert error_of(capsys).startswith(f"{path}: {message}")
    with pytest.raises(UserError, match="gone: no such file"):
        burn.load(tmp_path / "gone")
    for content, message in {
        "hello": "found str; expected a dictionary",
        (): "found tuple; expected a dictionary",
    }.items():
        assert refusal(tmp_path, content, capsys) == message
    everything = ", ".join(layout.name for layout in LAYOUTS)
    said = refusal(tmp_path, {"weights": {}}, capsys)
    assert said == f"found no state_dict; expected {everything}"
    keys = {letter: torch.ones(1) for letter in "abcdefg"}
    said = refusal(tmp_path, {"state_dict": keys}, capsys)
    assert said == f"found keys a; b; c; d; e; ...; expected {everything}"


def test_another_format_than_the_files_is_an_error(nets, tmp_path, capsys):
    said = refusal(tmp_path, held(nets, "stage"), capsys, "--format", "s2bnn")
    assert said == "found a file of the layout 'BURN stage file' (format burn); " \
        "expected S2-BNN checkpoint"  # fmt: skip
    said = refusal(tmp_path, held(nets, "moco"), capsys, "--format", "burn")
    assert said.startswith("found a file of the layout 'MoCo v2 checkpoint' (format moco); ")


@pytest.mark.parametrize("kind", ["backbone", "s2bnn"])
def test_keys_that_do_not_fit_are_listed(nets, tmp_path, capsys, kind):
    made = held(nets, kind, module=False)
    state, at = dict(made["state_dict"]), "" if kind == "backbone" else "encoder_q."
    for i in range(3, 10):
        del state[f"{at}feature.{i}.binary_3x3.weight"]
    state["surplus"] = torch.ones(1)
    state[f"{at}feature.0.conv1.weight"] = torch.ones(STEM + 8, 3, 3, 3)
    state[f"{at}feature.1.move11.bias"] = "text"
    said = refusal(tmp_path, made | {"state_dict": state}, capsys)
    missing = "; ".join(f"{at}feature.{i}.binary_3x3.weight" for i in range(3, 8))
    name = STUDENTS[kind][0]
    assert said == (
        f"keys do not fit a {name}: 7 missing ({missing}; ...); 1 extra (surplus); 2 mis-shaped "
        f"({at}feature.0.conv1.weight [16, 3, 3, 3], expected [8, 3, 3, 3]; "
        f"{at}feature.1.move11.bias str, expected [1, 8, 1, 1])"
    )


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("stage", "classifier.fc0.weight"),
        ("stage", "teacher_classifier.bn0.running_mean"),
        ("training", "diff_branch_net.1.fc1.bias"),
        ("s2bnn", "encoder_q.fc.2.weight"),
        ("s2bnn", "encoder_q.feature.1.bn2_2.weight"),
        ("moco", "encoder_q.conv1.weight"),
        ("fp backbone", "layer1.0.conv3.weight"),
    ],
)
def test_one_missing_key_is_the_only_complaint(nets, tmp_path, capsys, kind, key):
    made = held(nets, kind)
    name, _, rest = key.partition(".")
    state = made[name]["state_dict"] if kind == "stage" else made["state_dict"]
    del state[f"module.{rest if kind == 'stage' else key}"]
    assert refusal(tmp_path, made, capsys).endswith(f": 1 missing ({key})")


# -- a row of the tables, and the teacher --------------------------------------------------------


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """params, data and a protocol, tiny."""
    folder = tmp_path_factory.mktemp("ground")
    made = SimpleNamespace(folder=folder, params=write(folder), data=folder / "data")
    assert call("prepare", "--params", made.params, "--dataset", "imagenet", "--out", made.data) == 0  # fmt: skip
    made.protocol = folder / "protocol"
    assert call("protocol", "--params", made.params, "--protocol", "linear-imagenet", "--data",
                made.data, "--code", graphs.ROOT / "burn/tasks/linear.py",
                "--out", made.protocol) == 0  # fmt: skip
    return made


def imported(path: Path, out: Path, *words) -> tuple[dict, Path]:
    """The entry of params.yaml that importing the file `path` makes, and the weights it names."""
    assert call("import-checkpoint", "--input", path, "--out", out, *words) == 0
    overlay = yaml.safe_load((out / "overlay.yaml").read_text())
    entry = overlay.get("teacher") or overlay["methods"]["standalone"][out.name]
    return entry, out / "weights.safetensors"


def stages(ground, folder, params, method):
    """Run the three stages of a row, and the exit code of the first that fails."""
    before = None
    for stage in ("real", "binact", "binary"):
        init = {"init": folder / before} if before else {}
        words = pretrain(ground, folder / stage, method, stage, params=params,
                         code=graphs.ROOT / "burn/methods/imported.py", **init)  # fmt: skip
        if call(*words):
            return 2
        before = stage
    return 0


@pytest.mark.parametrize(("kind", "precision"), [("stage", "binact"), ("s2bnn", "binary")])
def test_a_file_becomes_a_row(nets, file, ground, tmp_path, kind, precision):
    folder, alone = tmp_path / "theirs", tmp_path / "alone"
    entry, weights = imported(file(kind), alone, "--precision", precision)
    params = write(tmp_path, {"methods": {"standalone": {"theirs": entry}}})
    assert stages(ground, folder, params, "theirs") == 0
    reference = nets["s2bnn" if kind == "s2bnn" else "k"].at(precision)
    assert same(build.load(folder / precision), reference, images())
    metrics = json.loads((folder / precision / "metrics.json").read_text())
    assert metrics["sha256"] == file_hash(weights) and metrics["method"] == "theirs"

    def evaluated(networks, out):
        assert call("evaluate", "--params", params, "--protocol", ground.protocol, "--networks",
                    networks, "--seed", 0, "--out", out) == 0  # fmt: skip
        return json.loads((out / "metrics.json").read_text())

    found = evaluated(folder, tmp_path / "eval")
    assert list(found["stages"]) == [precision] and found["method"] == "theirs"
    again = evaluated(alone, tmp_path / "eval alone")["stages"][precision]
    assert again["top1"] == found["stages"][precision]["top1"]


def test_a_row_depends_on_its_file_by_the_hash(file, ground, tmp_path, capsys):
    entry, path = imported(file("backbone"), tmp_path / "imported")
    params = write(tmp_path, {"methods": {"standalone": {"theirs": entry}}})
    read = {
        stage: text(settings(load(params), "pretrain", method="theirs", stage=stage))
        for stage in ("real", "binact", "binary")
    }
    assert all(file_hash(path) in what for what in read.values())
    torch.save({"state_dict": {}}, path)
    assert stages(ground, tmp_path / "out", params, "theirs") == 2
    assert error_of(capsys).startswith(f"recipe.sha256: found {file_hash(path)} for {path}; ")
    path.unlink()
    assert stages(ground, tmp_path / "out", params, "theirs") == 2
    assert error_of(capsys) == f"recipe.checkpoint: found {str(path)!r}; expected a file"


def test_a_row_needs_a_hash_a_student_and_no_epochs(file, ground, tmp_path, capsys):
    base = plain(load(graphs.ROOT / "params.yaml"))
    entry, _ = imported(file("backbone"), tmp_path / "imported")
    for change, message in (
        ({"recipe": {"sha256": None}}, "theirs.recipe.sha256: found None; allowed: "),
        ({"recipe": {"checkpoint": None}}, "theirs.recipe.checkpoint: found None; allowed: "),
        ({"recipe": {"precision": "fp"}}, "theirs.recipe.precision: found 'fp'; allowed: "),
        ({"epochs": {"binary": 3}}, "theirs.epochs.binary: found 3; allowed: 0"),
    ):
        with pytest.raises(UserError, match=message):
            parse(merge(base, {"methods": {"standalone": {"theirs": merge(entry, change)}}}))
    teacher, path = imported(file("moco"), tmp_path / "moco")
    entry["recipe"] |= {"checkpoint": teacher["checkpoint"], "sha256": teacher["sha256"]}
    params = write(tmp_path, {"methods": {"standalone": {"theirs": entry}}})
    assert stages(ground, tmp_path / "out", params, "theirs") == 2
    said = f"recipe.checkpoint: found a resnet50 in {path}; expected a binary network"
    assert error_of(capsys) == said


@pytest.mark.parametrize("kind", ["fp backbone", "training"])
def test_the_teacher_can_come_from_burns_files(nets, file, ground, tmp_path, kind):
    given, _ = imported(file(kind), tmp_path / "imported", "--precision", "fp")
    assert given["network"] == {"arch": "resnet50", "width": 1.0, "stem": "imagenet"}
    out = tmp_path / "out"
    assert call(*teacher(ground, out, write(tmp_path, {"teacher": given}))) == 0
    weights = load_file(out / "weights.safetensors")
    assert weights.keys() == {f"network.{key}" for key in nets["bare h"].state_dict()}
    with torch.no_grad():
        got, expected = build.load(out)(images()), released.pooled(nets["h"], images())
    assert torch.allclose(got, expected, atol=1e-5 * expected.max())


def test_a_binary_network_is_no_teacher(file, ground, tmp_path, capsys):
    _, path = imported(file("stage"), tmp_path / "imported")
    params = write(tmp_path, {"teacher": {"checkpoint": str(path)}})
    assert call(*teacher(ground, tmp_path / "out", params)) == 2
    said = error_of(capsys)
    assert said.startswith(f"teacher.checkpoint: {path} (teacher.network: {{'arch': 'reactnet', ")
    assert "would fit): tensors do not fit the network: " in said
