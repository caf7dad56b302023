"""BURN (Kim & Choi, CVPR 2022), reproduced: self-supervised pretraining of binary networks."""

__version__ = "0.1.0"


def load(path, precision=None):
    """The feature extractor in an artifact folder, or in a released checkpoint (burn.released.read).

    Args:
        path: a folder that a training step left, or export; or a file of BURN, S2-BNN, MoCo v2.
        precision: "real", "binact" or "binary", of a binary network. None: the folder's own; of a
            file `binary`. A file of stage 1 (binary activations, real weights) does not say that
            it is one: load it with "binact".

    Returns a frozen torch.nn.Module in eval mode. It maps an (N, 3, H, W) normalised float batch to
    the (N, D) features that a linear classifier sees: BURN's after its last Linear + ReLU (1024-d),
    S2-BNN's pooled ones (1024-d), MoCo v2's pooled ones (2048-d). They are the released network's
    to float rounding, but where it has a zero: the sign of 0 is +1 here, for activations and
    weights, and 0 in torch.sign. Raises burn.errors.UserError, one line, if there is no such
    file, or it cannot be trusted or used.
    """
    from burn.places import named
    from burn.released.read import load  # importing burn must take no seconds

    return load(named(path), precision)
