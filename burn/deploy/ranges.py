"""Which values a network's convolutions see: what its activations must hold as bytes."""

import contextlib

from torch import nn

Ranges = dict[str, tuple[float, float]]


@contextlib.contextmanager
def watched(network):
    """Yields the Ranges, by name, of what the convolutions of `network` see while the block runs."""
    seen: Ranges = {}

    def hook(name):
        def widen(_, inputs):
            low, high = map(float, inputs[0].aminmax())
            before = seen.get(name, (low, high))
            seen[name] = min(low, before[0]), max(high, before[1])

        return widen

    modules = network.named_modules() if isinstance(network, nn.Module) else ()
    convs = {n: m for n, m in modules if isinstance(m, nn.Conv2d)}
    handles = [m.register_forward_pre_hook(hook(name)) for name, m in convs.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
