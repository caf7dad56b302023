"""What a machine can multiply, and what `precision: auto` makes of it."""

import pytest
import torch
from toys import Toy, loader

from burn.artifacts import Work
from burn.experiment.schema import Train
from burn.networks import arithmetic
from burn.training.fit import fit

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def processor(monkeypatch, avx512_bf16=False, amx=False, capability=(0, 0)):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)


@pytest.mark.parametrize(
    ("device", "has", "expected"),
    [
        (CPU, {}, "fp32"),
        (CPU, {"avx512_bf16": True}, "fp32"),
        (CPU, {"amx": True}, "bf16"),
        (CUDA, {"capability": (7, 5), "amx": True}, "fp32"),
        (CUDA, {"capability": (8, 0)}, "bf16"),
        (CUDA, {"capability": (9, 0)}, "bf16"),
    ],
)
def test_auto_is_bf16_where_that_is_faster(monkeypatch, device, has, expected):
    processor(monkeypatch, **has)
    assert arithmetic.in_force("auto", device) == expected


@pytest.mark.parametrize("has", [{}, {"amx": True}])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_precision_that_is_named_is_in_force_everywhere(monkeypatch, precision, has):
    processor(monkeypatch, **has)
    assert arithmetic.in_force(precision, CPU) == precision


@pytest.mark.parametrize(("amx", "expected"), [(False, torch.float32), (True, torch.bfloat16)])
def test_training_multiplies_so_and_says_so(monkeypatch, tmp_path, amx, expected):
    processor(monkeypatch, amx=amx)
    seen = []

    class Watched(Toy):
        def step(self, views, labels, step):
            seen.append(torch.ones(2, 2) @ torch.ones(2, 2))
            return super().step(views, labels, step)

    work = Work(tmp_path / "out", tmp_path, "")
    fit(Watched(), loader(), Train(batch=16), 6, work)
    assert {product.dtype for product in seen} == {expected}
    said = "fp32" if expected == torch.float32 else "bf16"
    assert work.provenance["precision"] == said and work.provenance["training_seconds"] >= 0
