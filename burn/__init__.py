"""BURN (Kim & Choi, CVPR 2022), reproduced: self-supervised pretraining of binary networks."""

__version__ = "0.1.0"
