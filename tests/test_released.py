"""Released checkpoints, every layout: burn.load and import-checkpoint are exact."""

import json
import subprocess
import sys

import graphs
import pytest
import released
import torch
import yaml
from cli import call
from released import DIM, STEM, STUDENTS, TEACHERS, held, images, same

import burn
from burn.artifacts import file_hash
from burn.errors import UserError
from burn.experiment.overlay import merge
from burn.experiment.reading import load, parse
from burn.experiment.reads import plain
from burn.networks import build
from burn.released.read import read

FORMATS = {"s2bnn": "s2bnn", "moco": "moco", "backbone": "burn"}


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
    network, reference = burn.load(str(path)), reference.at("binary")
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    with torch.no_grad():
        assert torch.allclose(network(images()), reference(images()), atol=1e-5)
    assert same(network, reference, images())
    for precision in ("binact", "real") if module else ():
        network = burn.load(path, precision=precision)
        assert same(network, reference.at(precision), images()), precision


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
    named = ["--format", FORMATS[kind]] if kind in FORMATS else []  # else told by its keys
    assert call("import-checkpoint", *named, "--input", path, "--out", out) == 0
    assert f"{name}: {', '.join(networks)}" in capsys.readouterr().out
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["layout"] == name and metrics["sha256"] == file_hash(path)
    assert set(build.read_weights(out)) == set(networks)
    with torch.no_grad():
        assert torch.equal(burn.load(out)(images()), burn.load(path)(images()))
    overlay = yaml.safe_load((out / "overlay.yaml").read_text())
    whole = merge(plain(load(graphs.ROOT / "params.yaml")), overlay)
    if kind == "fp backbone":  # of which no method can distil an embedding
        with pytest.raises(UserError, match="no embedding MLP"):
            parse(whole)
        whole["methods"]["distilled"]["s2bnn"]["recipe"]["distil"] = "features"
    params = parse(whole)
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
