"""Stochastic gradient descent for small trainings: torch.optim imports the compiler, for seconds."""

from collections.abc import Iterable

import torch
from torch import nn


class SGD:
    """Momentum 0.9, as torch.optim.SGD has it.

    Args:
        groups: (parameters, learning rate) pairs; parameters that need no gradient are left alone.
    """

    def __init__(self, groups: Iterable[tuple[Iterable[nn.Parameter], float]], weight_decay: float):
        self.decay = weight_decay
        self.groups = [
            ([(p, torch.zeros_like(p)) for p in parameters if p.requires_grad], rate)
            for parameters, rate in groups
        ]

    @torch.no_grad()
    def step(self, factor: float = 1.0) -> None:
        """One update at `factor` times the rates; gradients are gone after it."""
        for pairs, rate in self.groups:
            for p, momentum in ((p, m) for p, m in pairs if p.grad is not None):
                momentum.mul_(0.9).add_(p.grad).add_(p, alpha=self.decay)
                p.sub_(momentum, alpha=rate * factor)
                p.grad = None
