"""What the objectives are held to: NumPy in float64, row by row."""

import numpy as np


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def log_softmax(z):
    z = z - z.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def info_nce(query, key, negatives, temperature):
    """MoCo's loss (eq. 1) of (N, D) rows of unit length: the key of a query against (K, D) others."""
    logits = np.concatenate([(query * key).sum(1, keepdims=True), query @ negatives.T], 1)
    return -log_softmax(logits / temperature)[:, 0].mean()
