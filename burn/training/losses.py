"""The BURN objective (Kim & Choi, CVPR 2022; the released recipe's form of it); InfoNCE; coding rate.

With p = softmax(target / T) and q = softmax(student / T), one direction's loss for N images is

    [ balance * sum ||normalise(student) - normalise(target)||^2
      + (1 - balance) * sum p * (log p - log q) ] / N

without a factor T^2. Gradients flow into `student` and into `target`: the classifier on the
teacher is trained jointly, unless the caller detaches it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from burn.training.distributed import mean_over_processes


def kl(student: Tensor, target: Tensor, temperature: float = 0.2) -> Tensor:
    """KL(p || q), summed over classes, mean over the batch, of two (N, C) logits. Scalar, nats."""
    log_p = F.log_softmax(target.float() / temperature, dim=1)
    log_q = F.log_softmax(student.float() / temperature, dim=1)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def similarity(student: Tensor, target: Tensor) -> Tensor:
    """Squared distance of L2-normalised rows, (N, C) each, mean over the batch: 2 - 2 cos."""
    difference = F.normalize(student.float(), dim=1) - F.normalize(target.float(), dim=1)
    return difference.square().sum() / len(student)


def information(logits: Tensor, temperature: float = 0.2) -> Tensor:
    """Nats that predictions of (N, C) logits tell of their image, 0 to log N. Scalar, differentiable.

    H(mean p) - mean H(p), high where each image has one class and the batch has many (regularised
    information maximisation, Krause et al., NIPS 2010).
    """
    log_p = F.log_softmax(logits.float() / temperature, dim=1)
    p = log_p.exp()
    mean = mean_over_processes(p.mean(0))  # an entropy is no mean over processes by itself
    return (p * log_p).sum(1).mean() - (mean * mean.clamp_min(1e-30).log()).sum()


class BurnLoss(NamedTuple):
    """The objective and its two terms, each summed over the directions. Scalars."""

    total: Tensor
    kl: Tensor
    similarity: Tensor


def burn_loss(
    students: Sequence[Tensor],
    targets: Sequence[Tensor],
    balance: float,
    temperature: float = 0.2,
    near: tuple[Sequence[Tensor], Sequence[Tensor]] | None = None,
) -> BurnLoss:
    """The BURN loss, summed over its directions (view 1 -> view 2, and the reverse).

    Args:
        students: for each direction (N, C) outputs of the student's classifier, l(k(v1)).
        targets: for each direction (N, C) outputs of the teacher's classifier, g(h(v2)).
        balance: weight of the similarity term, 0..1; the KL term has 1 - balance.
        temperature: T of both softmaxes.
        near: (of the student, of the teacher), for each direction (N, D): what the similarity term
            pulls together. None: the outputs themselves (the release); the paper takes features.

    Raises ValueError if shapes differ.
    """
    for a, b in [*zip(students, targets, strict=True), *(zip(*near, strict=True) if near else ())]:
        if a.shape != b.shape or a.dim() != 2:
            raise ValueError(
                f"found {tuple(a.shape)} and {tuple(b.shape)}; expected two equal (N, C)"
            )
    zero = torch.zeros((), device=students[0].device)
    # A weight of exactly 0 leaves a term out, not in as 0 * inf.
    divergence, distance = zero, zero
    if balance < 1:
        divergence = sum(kl(s, t, temperature) for s, t in zip(students, targets))
    if balance > 0:
        distance = sum(similarity(s, t) for s, t in zip(*(near or (students, targets))))
    return BurnLoss(balance * distance + (1 - balance) * divergence, divergence, distance)


def balance(step: int, total_steps: int, start: float = 0.9, end: float = 0.7) -> float:
    """Weight of the similarity term at `step` of `total_steps`: `start` to `end` on a half-cosine.

    High while g is still random. The release writes it as the weight of the KL term,
    0.3 - (0.3 - 0.1) * (cos(pi t / T) + 1) / 2 = 1 - balance.
    """
    return end + (start - end) * (math.cos(math.pi * step / total_steps) + 1) / 2


def info_nce(query: Tensor, key: Tensor, negatives: Tensor, temperature: float = 0.2) -> Tensor:
    """MoCo's loss (He et al., CVPR 2020, eq. 1): which of 1 + K keys is the query's? Scalar, nats.

    Args:
        query, key: (N, D), L2-normalised, row for row a pair. negatives: (K, D), of other images.
    """
    positive = (query * key).sum(1, keepdim=True)
    logits = torch.cat([positive, query @ negatives.t()], 1) / temperature
    first = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    return F.cross_entropy(logits, first)


def coding_rate(z: Tensor, epsilon: float = 0.2) -> Tensor:
    """R(Z) = 1/2 log det(I + D / (N eps^2) Z^T Z), eps^2 = `epsilon`, of (N, D) rows. Scalar, nats.

    Bits that the rows take up to an error (Ma et al., PAMI 2007; Yu et al., NeurIPS 2020, eq. 5):
    high where they fill all dimensions evenly. log det(I + A^T A) = log det(I + A A^T), so the
    smaller matrix will do.
    """
    n, d = z.shape
    with torch.autocast(z.device.type, enabled=False):
        z = z.float()
        gram = z @ z.t() if n < d else z.t() @ z
        eye = torch.eye(len(gram), device=z.device)
        factor = torch.linalg.cholesky(eye + d / (n * epsilon) * gram)
    return factor.diagonal().log().sum()
