"""SwAV: balanced codes, swapped predictions, prototypes, queues, and the small crops (multi-crop)."""

import numpy as np
import pytest
import torch
from baselines import make, outputs, update, views
from formulas import log_softmax, unit

from burn.experiment.schema import Augment
from burn.images.augment import photometric
from burn.images.loader import Loader
from burn.images.store import Split, Streamed
from burn.methods import byol, swav

CPU = torch.device("cpu")


def codes(scores, epsilon=0.05, rounds=3):
    """Sinkhorn's scaling (Cuturi 2013) of (N, K) float64 scores; rows come out as distributions."""
    q = np.exp(scores / epsilon)
    for _ in range(rounds):
        q /= q.sum(0)  # a prototype's share is the same for all
        q /= q.sum(1, keepdims=True)
    return q


def swapped(scores, sizes, temperature=0.1, extra=None):
    """SwAV's loss (eq. 2) of a list of (N, K) scores, the first two of which have codes."""
    total = 0.0
    for i in (0, 1):
        pool = scores[i] if extra is None else np.concatenate([scores[i], extra[i]])
        q = codes(pool)[: len(scores[i])]
        others = [log_softmax(s / temperature) for j, s in enumerate(scores) if j != i]
        total += sum(-(q * log_p).sum(1).mean() for log_p in others) / len(others)
    assert len(scores) == sizes
    return total / 2


def scores_of(method, batch):
    """Cosines of each view's embedding with the prototypes: one pass for each resolution."""
    n = method.networks
    parts = [torch.cat(part) for part in (batch[:2], batch[2:]) if part]
    with torch.no_grad():
        features = torch.cat([n["network"](x) for x in parts])
    z = unit(outputs(features, n["projector"]))
    weight = n["prototypes"].heads[0].weight.detach().double().numpy()
    return np.split(z @ unit(weight).T, len(batch)), np.split(z, len(batch))


@pytest.mark.parametrize(
    ("rows", "columns", "epsilon"), [(64, 8, 0.05), (30, 30, 0.1), (8, 20, 0.05)]
)
def test_codes_are_balanced(rows, columns, epsilon):
    from lightly.loss.swav_loss import sinkhorn

    scores = torch.rand(rows, columns) / 5 + torch.linspace(0, 0.3, columns)
    found = sinkhorn(scores.clone(), 3, epsilon)
    np.testing.assert_allclose(found, codes(scores.double().numpy(), epsilon), 1e-4, 1e-7)
    torch.testing.assert_close(found.sum(1), torch.ones(rows))
    assert found.softmax(1).argmax(1).unique().numel() > 1
    balanced = sinkhorn(scores.clone(), 100, epsilon)
    share = torch.full((columns,), rows / columns)
    torch.testing.assert_close(balanced.sum(0), share, rtol=1e-2, atol=1e-2)
    assert (found.sum(0) - share).abs().max() < 0.5 * rows / columns  # three rounds: nearly


@pytest.mark.parametrize("small", [0, 3])
@pytest.mark.parametrize(("temperature", "norm"), [(0.1, True), (0.5, False)])
def test_swav_predicts_swapped_codes(small, temperature, norm):
    method, batch = make(swav, temperature=temperature, norm=norm), views(small=small)
    norms = [m for m in method.networks["projector"].modules() if hasattr(m, "running_var")]
    assert len(norms) == 1 + norm
    out = method.step(batch, None, 0)
    scores, _ = scores_of(method, batch)
    expected = swapped(scores, 2 + small, temperature)
    assert out.loss.item() == pytest.approx(expected, 1e-4)
    assert method.temperature == temperature
    np.testing.assert_allclose(out.outputs.detach(), scores[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(out.targets.detach(), scores[1], rtol=1e-3, atol=1e-4)


def test_prototypes_are_unit_vectors_and_stay_for_the_first_share():
    method = make(swav, freeze=0.3)  # of 10 steps
    (head,) = method.networks["prototypes"].heads
    assert head.bias is None and head.weight.shape == (6, 16)
    for step in range(6):
        before = head.weight.clone()
        torch.testing.assert_close(before.norm(dim=1), torch.ones(6))
        method.step(views(), None, step).loss.backward()
        assert (head.weight.grad is None) == (step < 3)
        update(method)
        stays = bool((head.weight - before).abs().max() < 1e-6)  # but for rounding to unit length
        assert stays == (step < 3)
        torch.testing.assert_close(head.weight.norm(dim=1), torch.ones(6))


def test_earlier_features_join_the_codes_once_there_are_enough():
    method = make(swav, queue=20, queue_from=0.4)  # of 10 steps
    seen = [[], []]
    for step in range(6):
        batch = views()
        out = method.step(batch, None, step)
        scores, z = scores_of(method, batch)
        extra = None
        if step >= 4:
            weight = method.networks["prototypes"].heads[0].weight.detach().double().numpy()
            extra = [np.concatenate(s)[-20:] @ weight.T for s in seen]
        assert out.loss.item() == pytest.approx(swapped(scores, 2, extra=extra), 1e-3), step
        for i in (0, 1):
            seen[i].append(z[i])
    for queue, s in zip(method.helpers["queues"], seen, strict=True):
        found = torch.cat([queue.keys[queue.at :], queue.keys[: queue.at]])  # oldest first
        np.testing.assert_allclose(found, np.concatenate(s)[-20:], rtol=1e-3, atol=1e-4)
    method = make(swav, queue=20, queue_from=0.0)
    assert method._earlier(2, 8) is None and method._earlier(3, 8) is not None  # 16 of 20; 24


# -- multi-crop ----------------------------------------------------------------------------------

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 3, 32, 32), dtype=np.uint8)


def small_recipe(count: int = 3):
    recipe = swav.Recipe(small_crops=count, small_size=12, small_crop=[0.05, 0.1])
    return swav.Method.small_views(recipe, Augment(size=32, flip=0.25))


def test_small_views_differ_from_the_others_in_size_and_crop():
    assert small_recipe() == [Augment(size=12, crop=[0.05, 0.1], flip=0.25)] * 3
    assert swav.Method.small_views(swav.Recipe(), Augment()) == []
    assert byol.Method.small_views(byol.Recipe(), Augment()) == []


def test_small_views_come_after_the_two_and_change_neither():
    split = Split(labels=torch.arange(16), images=torch.from_numpy(PIXELS))
    loaders = [
        Loader(split, Augment(size=32), 8, 2, 0, CPU, small=small)
        for small in ([], small_recipe(), small_recipe(4))
    ]
    (plain, _), (more, _), (most, _) = (list(load.run(1, 2))[0] for load in loaders)
    assert [tuple(v.shape) for v in more] == [(8, 3, 32, 32)] * 2 + [(8, 3, 12, 12)] * 3
    for a, b in zip(plain, more):
        assert torch.equal(a, b)
    for a, b in zip(more, most):
        assert torch.equal(a, b)
    assert not torch.equal(more[2], more[3])


def test_small_views_of_streamed_images(tmp_path):
    from PIL import Image

    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, pixels in zip(paths, PIXELS):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
    split = Split(labels=torch.arange(4), files=paths)
    small = small_recipe(2)
    loader = Loader(split, Augment(size=24), 4, 2, 0, CPU, small=small)
    ((found, labels),) = loader.run(0, 1)
    shapes = [(4, 3, 24, 24)] * 2 + [(4, 3, 12, 12)] * 2
    assert [tuple(v.shape) for v in found] == shapes
    data = Streamed(split, [0.08, 1.0], 24, 2, small=[([0.05, 0.1], 12)] * 2)
    items = [data[int(i)] for i in loader.order(0)[0]]
    assert [len(item) for item in items] == [4] * 4 and labels.tolist() == [i[-1] for i in items]
    generator = torch.Generator().manual_seed(9)
    other = torch.Generator().manual_seed(9)
    first = torch.stack([item[1] for item in items])
    assert first.shape == (4, 3, 12, 12) and first.dtype == torch.uint8
    assert torch.equal(photometric(first, small[0], generator), photometric(first, small[0], other))
    (plain, _), *_ = Loader(split, Augment(size=24), 4, 2, 0, CPU).run(0, 1)
    assert all(torch.equal(a, b) for a, b in zip(plain, found))
