"""MoCo v2, the teacher's method and a row: its loss, its queue, its key encoder."""

from functools import partial

import numpy as np
import pytest
import torch
from baselines import make, outputs, update, views
from formulas import info_nce, unit

from burn.methods import mocov2
from burn.networks import build
from burn.training.heads import Queue
from burn.training.method import Context


def on_a_resnet(**recipe):
    """The method as it trains a teacher."""
    torch.manual_seed(2)
    network = build.network({"arch": "resnet18", "width": 0.125, "stem": "half"})
    recipe = mocov2.Recipe(**{"embedding": 8, "queue": 20} | recipe)
    method = mocov2.Method(recipe, Context(network, None, 5, 10))
    method.begin()
    return method


on_a_student = partial(make, mocov2)


@pytest.mark.parametrize(
    ("made", "temperature"), [(on_a_student, 0.2), (on_a_student, 0.5), (on_a_resnet, 0.2)]
)
def test_the_loss_is_infonce_and_the_keys_join_the_queue(made, temperature):
    method, batch = made(temperature=temperature), views()
    n, (key_network, key_head) = method.networks, method.helpers["key"]
    negatives = method.helpers["queue"].keys.clone()
    out = method.step(batch, None, 0)
    query = unit(outputs(batch[0], n["network"], n["head"]))
    key = unit(outputs(batch[1], key_network.eval(), key_head.eval()))
    expected = info_nce(query, key, negatives.double().numpy(), temperature)
    assert out.loss.item() == pytest.approx(expected, 1e-4)
    assert method.temperature == temperature and method.normalised
    np.testing.assert_allclose(out.outputs.detach(), query, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(out.targets, key, rtol=1e-3, atol=1e-5)
    found = method.helpers["queue"].keys
    assert torch.equal(found[:8], out.targets) and torch.equal(found[8:], negatives[8:])


def test_the_queue_holds_the_keys_of_the_last_steps():
    method = on_a_student(queue=20)
    start, keys = method.helpers["queue"].keys.clone(), []
    for step in range(3):
        keys.append(method.step(views(), None, step).targets)
    last = torch.cat(keys)  # 24 keys: the first four have given way
    expected = torch.cat([last[20:], last[4:20]])
    assert torch.equal(method.helpers["queue"].keys, expected)
    assert method.helpers["queue"].at == 4 and not torch.isclose(start, expected).all(1).any()


def test_a_queue_of_any_length_holds_the_last_keys():
    queue = Queue(5, 2)
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(5))
    keys = torch.arange(22.0).view(11, 2)
    queue.push(keys[:3])
    assert torch.equal(queue.keys[:3], keys[:3])
    queue.push(keys[3:6])  # around the end
    assert torch.equal(queue.keys, keys[[5, 1, 2, 3, 4]])
    queue.push(keys[6:11])  # all of it
    assert torch.equal(queue.keys, keys[[10, 6, 7, 8, 9]])
    assert queue.at.item() == 1


def test_the_key_encoder_is_a_moving_average_statistics_included():
    method = on_a_student(momentum=0.75)
    slow = {k: v.double() for k, v in method.helpers["key"].state_dict().items()}
    for step in range(2):
        method.step(views(), None, step).loss.backward()
        update(method)
        for i, name in enumerate(("network", "head")):
            for key, fast in method.networks[name].state_dict().items():
                if fast.is_floating_point():
                    slow[f"{i}.{key}"] = 0.75 * slow[f"{i}.{key}"] + 0.25 * fast.double()
    found = method.helpers["key"].state_dict()
    assert any("running_var" in key for key in found)
    for key, value in found.items():
        torch.testing.assert_close(value.double(), slow[key], rtol=1e-4, atol=1e-5)


def test_every_tensor_of_the_key_encoder_follows_by_the_momentum():
    method = on_a_resnet(momentum=0.5)
    pairs = list(zip(method.helpers["key"], method.networks.values(), strict=True))
    tensors = [(a, b) for slow, fast in pairs
               for (name, a), b in zip(slow.state_dict().items(), fast.state_dict().values())
               if "num_batches" not in name]  # fmt: skip
    assert sum("running_var" in name for slow, _ in pairs for name in slow.state_dict()) > 20
    for a, b in tensors:
        assert torch.equal(a, b)  # starts as a copy
        a.zero_()
    for value in (1.0, 2.0, -3.0):
        for _, b in tensors:
            b.fill_(value)
        method.after_update(0)
    for a, _ in tensors:  # 0 -> 0.5 -> 1.25 -> -0.875
        assert torch.equal(a, torch.full_like(a, -0.875))


@pytest.mark.parametrize("norm", [True, False])
def test_norm_puts_a_batch_norm_into_the_embedding(norm):
    head = on_a_resnet(norm=norm).networks["head"]
    assert norm == any(isinstance(m, torch.nn.BatchNorm1d) for m in head.modules())
