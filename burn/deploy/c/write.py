"""The folder runtimes/c: network.c, network.h, main.c and a Makefile."""

from dataclasses import astuple
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from burn.deploy.c.tables import Tables, tables
from burn.deploy.fold import fold
from burn.errors import UserError
from burn.networks.binary import BinaryConv2d
from burn.networks.reactnet import ReActNet

HERE = Path(__file__).parent
COPIED = ("main.c", "Makefile")
FILES = ("network.c", "network.h", *COPIED)
WIDE = 110  # columns of the arrays


def unfit(network: nn.Module) -> str | None:
    """Why `network` cannot be written in C, or None."""
    if not isinstance(network, ReActNet):
        return f"found a {network.config['arch']}; only binary networks (reactnet) are written"
    convs = [module for module in network.modules() if isinstance(module, BinaryConv2d)]
    if any(conv.dilation != 1 for conv in convs):
        return "found a dilated network; expected one whose strides are its own"
    precision = convs[0].precision
    if precision != "binary":
        return f"found real weights (stage {precision}); expected those of stage binary"
    return None


def write(network: nn.Module, side: int, folder: Path,
          classifier: tuple[Tensor, Tensor, list[str]] | None = None) -> Tables:  # fmt: skip
    """Write `network`, for images of `side` pixels, into `folder`; returns what was written.

    Args:
        classifier: weight (K, D), bias (K,) and the names of K classes: a last layer.

    Raises UserError, one line, if the network cannot be written in C.
    """
    why = unfit(network)
    if why:
        raise UserError(f"{folder}: {why}")
    told = tables(fold(network), side, classifier and classifier[:2])
    names = classifier[2] if classifier else []
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        (folder / name).write_text((HERE / name).read_text())
    title = f"{_title(network, names)} Images of {side} x {side} pixels."
    (folder / "network.h").write_text(_header(told, title, names))
    (folder / "network.c").write_text(_source(told, title, names))
    return told


def _title(network: ReActNet, names: list[str]) -> str:
    config = network.config
    parts = [f"ReActNet-A, width {config['width']:g}, stem {config['stem']}"]
    parts += ["neck"] * config["neck"] + [f"a linear classifier of {len(names)} classes"] * bool(
        names
    )
    return ", ".join(parts) + "."


def _header(told: Tables, title: str, names: list[str]) -> str:
    said = ""
    if names:
        said = "/* What the classes are called. */\nextern const char *const network_names[NETWORK_CLASSES];\n\n"
    return (HERE / "network.h").read_text().format(
        title=title, flash=told.flash, ram=told.ram, side=told.side, features=told.features,
        classes=told.classes, outputs=told.classes or told.features, stream=told.stream,
        rows=9 * (told.side + 2), ends=told.kept, bits=told.bits, names=said,
        meaning="scores of the classes" if names else "features",
    )  # fmt: skip


def _source(told: Tables, title: str, names: list[str]) -> str:
    rows = ",\n".join(f"    {{{', '.join(map(str, astuple(row)))}}}" for row in told.rows)
    stem = (told.side, told.stride, told.out, told.stem_blocks, told.stem_words)
    net = ", ".join(map(str, stem)) + f", STEM, {len(told.rows)}, HALVES, WEIGHTS, NUMBERS, "
    net += f"{told.features}, {told.neck}, {told.classes}, ENDS"
    ends = told.ends if len(told.ends) else np.zeros(1, np.float32)
    arrays = {"STEM": told.stem, "WEIGHTS": told.weights, "NUMBERS": told.numbers, "ENDS": ends}
    parts = [
        f'/* {title} Written by burn.deploy.c. */\n\n#include "network.h"\n',
        (HERE / "kernels.c").read_text(),
        "/* ------------------------------------------------------------------ this network */\n",
        *(
            f"static const {_kind(a)} {name}[{len(a)}] NETWORK_ALIGNED;"
            for name, a in arrays.items()
        ),
        "\n/* side, out, kernel, stride, channels, words, blocks_in, blocks, words_next, weights, numbers */",
        f"static const struct half HALVES[{len(told.rows)}] = {{\n{rows}\n}};\n",
        f"static const struct net NET = {{{net}}};\n",
        _function("floats", "const float *image", "image, NULL"),
        _function("bytes", "const uint8_t *image", "NULL, image"),
        "const char *network_set(void)\n{\n    return NETWORK_SET;\n}\n",
    ]
    if names:
        each = ",\n    ".join(map(_string, names))
        parts.append(f"const char *const network_names[NETWORK_CLASSES] = {{\n    {each}\n}};\n")
    for name, array in arrays.items():
        parts.append(
            f"static const {_kind(array)} {name}[{len(array)}] NETWORK_ALIGNED = {{\n{_text(array)}}};\n"
        )
    return "\n".join(parts)


def _function(name: str, image: str, given: str) -> str:
    return (
        f"void network_of_{name}({image}, float *outputs, struct network_memory *memory)\n{{\n"
        f"    run(&NET, {given}, memory->levels, memory->rows, memory->bits[0], memory->bits[1], "
        "memory->stream, memory->ends, outputs);\n}\n"
    )


def _string(name: str) -> str:
    """A string of C, in UTF-8; what could end it, or be a trigraph, is written by its number."""
    plain = set(range(32, 127)) - set(b'"\\?')
    content = name.encode(errors="surrogateescape")
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in content) + '"'


def _kind(array: np.ndarray) -> str:
    return "uint32_t" if array.dtype == np.uint32 else "float"


def _text(array: np.ndarray) -> str:
    """The values of `array` as C says them, in lines; floats in the fewest digits that are exact."""
    if array.dtype == np.uint32:
        said = [f"0x{value:x}" for value in array.tolist()]
    else:
        said = [_float(value) for value in array]
    lines, line = [], ""
    for word in said:
        if len(line) + len(word) > WIDE:
            lines.append(line)
            line = ""
        line += word + ","
    return "\n".join([*lines, line]) + "\n"


def _float(value: np.float32) -> str:
    text = str(value)
    return (text if "." in text or "e" in text else text + ".") + "f"
