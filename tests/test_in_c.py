"""runtimes/c: a network as one file of C, compiled here and run."""

import re
import shutil
import subprocess
from pathlib import Path

import deployed
import numpy as np
import pytest
import torch
from torch import Tensor

from burn.deploy.c import compiled
from burn.deploy.c.compiled import Compiled, sets
from burn.deploy.c.write import FILES, write
from burn.errors import UserError
from burn.images.augment import plain
from burn.networks.maps import dilate

NETWORKS = [
    (32, {"neck": False}),
    (40, {}),
    (20, {"stem": "small", "width": 0.5, "neck": False}),
    (33, {"width": 0.75, "neck": False}),  # odd maps; an odd multiple of 8 channels
    (16, {"stem": "small", "width": 0.125, "neck": False}),
]


STRICT = "-Wall -Wextra -Wconversion -Wpedantic -Wshadow -Werror"


def tool(name: str) -> str:
    """Where a program is; the test is left out where it is not."""
    return shutil.which(name) or pytest.skip(f"{name} is not installed")


def built(folder, compiler: str = "cc", flags: str | None = None) -> Path:
    """The program of `folder`, by its Makefile."""
    words = [f"CC={compiler}", *([f"CFLAGS={flags}"] if flags is not None else [])]
    done = subprocess.run(
        ["make", "-s", "-B", "-C", folder, *words], capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return folder / "network"


def ran(program: Path, given: bytes, *words: str, by: tuple = ()) -> Tensor:
    command = [*by, program, "--numbers", *words]
    done = subprocess.run(command, input=given, capture_output=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    lines = done.stdout.decode().splitlines()
    return torch.tensor([[float(word) for word in line.split()] for line in lines])


def ppm(image: Tensor, comment: str = "") -> bytes:
    """(3, H, W) uint8 as a binary PPM."""
    head = f"P6\n{comment}{image.shape[2]} {image.shape[1]}\n255\n"
    return head.encode() + image.permute(1, 2, 0).numpy().tobytes()


def pictures(count: int, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator).to(torch.uint8)


@pytest.mark.parametrize(("side", "changes"), NETWORKS)
def test_features_are_the_networks_and_every_instruction_set_has_the_same(tmp_path, side, changes):
    network, x = deployed.network(**changes), deployed.images(side=side)
    write(network, side, tmp_path)
    each = [Compiled(tmp_path, flags)(x) for flags in sets()]
    assert deployed.same(network(x), each[0])
    assert all(torch.equal(each[0], other) for other in each[1:])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(folder, images as the program takes them, features) of a network with all there is."""
    folder, x = tmp_path_factory.mktemp("small"), deployed.images(8, side=18)
    write(deployed.network(), 18, folder)
    return folder, x.numpy().astype("<f4").tobytes(), Compiled(folder, ("-DNETWORK_PLAIN",))(x)


@pytest.mark.parametrize(
    ("machine", "flags"),
    [
        ("aarch64-linux-gnu", "-O2"),
        ("aarch64-linux-gnu", "-O2 -DNETWORK_PLAIN"),
        ("arm-linux-gnueabihf", "-O2"),
        ("arm-linux-gnueabihf", "-O2 -mfpu=neon"),
    ],
)
def test_another_processor_gives_the_same_features_bit_for_bit(small, machine, flags):
    folder, given, expected = small
    compiler = tool(f"{machine}-gcc")
    emulator = tool({"aarch64": "qemu-aarch64", "arm": "qemu-arm"}[machine.split("-")[0]])
    program = built(folder, compiler, f"{flags} -static {STRICT}")
    assert torch.equal(ran(program, given, "--floats", by=(emulator,)), expected)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_compilers_find_nothing_to_warn_of(small, compiler):
    folder, given, expected = small
    for flags in (" ".join(flags) for flags in sets()):
        program = built(folder, tool(compiler), f"-O1 {flags} {STRICT}")
        assert torch.equal(ran(program, given, "--floats"), expected)


def test_sanitizers_find_nothing(small):
    folder, given, expected = small
    for flags in (" ".join(flags) for flags in sets()):
        flags += " -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
        program = built(folder, tool("clang"), flags)
        assert torch.equal(ran(program, given, "--floats"), expected)
        ran(program, ppm(pictures(1, 18)[0]))


def test_a_microcontroller_takes_it(tmp_path):
    """Cortex-M4: 512 kB of flash and 128 kB of RAM are common."""
    told = write(deployed.network(neck=False), 32, tmp_path)
    flags = f"-mcpu=cortex-m4 -Os -std=c99 -ffp-contract=off {STRICT}".split()
    words = [tool("arm-none-eabi-gcc"), *flags, "-c", "network.c", "-o", "network.o"]
    subprocess.run(words, cwd=tmp_path, check=True)
    size = [tool("arm-none-eabi-size"), tmp_path / "network.o"]
    text, data, zeros, *_ = subprocess.check_output(size, text=True).splitlines()[1].split()
    assert told.flash < int(text) < told.flash + 8000 and data == zeros == "0"


def test_the_program_reads_pictures_and_floats(tmp_path):
    network, images = deployed.network(), pictures(3, 32)
    write(network, 32, tmp_path)
    program, x = built(tmp_path), plain(images, 32)
    by_floats = ran(program, x.numpy().astype("<f4").tobytes(), "--floats")
    assert torch.equal(by_floats, Compiled(tmp_path)(x)), "nine digits are a float"
    said = ("# a comment 7\n", "", "#\n# two\n")
    by_bytes = ran(program, b"".join(ppm(i, s) for i, s in zip(images, said)))
    assert deployed.apart(by_floats, by_bytes)[1] < 1e-6, "a sum that rounds may flip a sign of one"
    bench = subprocess.run([program, "--bench", "3"], capture_output=True, text=True)
    assert re.match(r"\d+\.\d+ ms an image, mean of 3", bench.stdout) and bench.returncode == 0


@pytest.mark.parametrize(
    ("given", "words", "said"),
    [
        (b"", [], "found nothing"),
        (b"\x89PNG\r\n", [], "found no binary PPM"),
        (b"P5\n32 32\n255\n", [], "found no binary PPM"),
        (b"P6\n16 32\n255\n", [], "found a PPM of 16 x 32 pixels"),
        (b"P6\n32 32\n65535\n", [], "values to 65535"),
        (b"P6\n32", [], "found a PPM of 32 x -1 pixels"),
        (b"P6\n99999999999999999999 32\n255\n", [], "x 32 pixels"),
        (b"P6\n32 32\n255\n" + bytes(99), [], "ends after 99 of 3072 bytes"),
        (bytes(4 * 3072 + 1), ["--floats"], "1 bytes, where an image has 12288"),
        (b"", ["--what"], "found --what; allowed: --floats"),
        (b"", ["--bench", "0"], "found --bench"),
    ],
)
def test_bad_input_is_one_line(tmp_path_factory, given, words, said):
    folder = tmp_path_factory.getbasetemp() / "bad-input"
    if not folder.exists():
        write(deployed.network(), 32, folder)
        built(folder)
    done = subprocess.run([folder / "network", *words], input=given, capture_output=True)
    told = done.stderr.decode()
    assert done.returncode == 2 and said in told and told.count("\n") == 1, told


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda: deployed.network("binact"), "found real weights (stage binact)"),
        (lambda: deployed.network("real"), "found real weights (stage real)"),
        (lambda: dilate(deployed.network(), 16), "found a dilated network"),
        (deployed.teacher, "found a resnet18"),
    ],
)
def test_a_network_that_cannot_be_written_so_is_refused(tmp_path, network, said):
    with pytest.raises(UserError, match=re.escape(said)) as error:
        write(network(), 32, tmp_path / "c")
    assert "\n" not in str(error.value) and not (tmp_path / "c").exists()


def test_two_times_written_is_the_same_text_and_says_what_it_takes(tmp_path):
    network = deployed.network()
    told = [write(network, 32, tmp_path / name) for name in "ab"]
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    text = (tmp_path / "a" / "network.c").read_text()
    sizes = [
        int(n)
        for n in re.findall(
            r"\nstatic const (?:uint32_t|float) \w+\[(\d+)\] NETWORK_ALIGNED;", text
        )
    ]
    rows = len(re.findall(r"\n    \{\d+(?:, \d+){10}\}", text))
    assert rows == 26 and 4 * (sum(sizes) + 11 * rows) == told[0].flash
    sizeof = (
        '#include <stdio.h>\n#include "network.h"\nint main(void)'
        '{printf("%d", (int)sizeof(struct network_memory)); return 0;}'
    )
    (tmp_path / "a" / "size.c").write_text(sizeof)
    words = ["cc", "-o", tmp_path / "size", tmp_path / "a" / "size.c"]
    subprocess.run(words, check=True)
    assert int(subprocess.check_output([tmp_path / "size"])) == told[0].ram


def test_it_fits_a_microcontroller(tmp_path):
    """The size of the networks in Git: a quarter of the width, 32 pixels."""
    from burn.deploy import packed

    network = deployed.network(neck=False)
    packed.save(network, "binary", tmp_path / "packed")
    told = write(network, 32, tmp_path / "c")
    assert told.flash <= 1.15 * (tmp_path / "packed").stat().st_size
    assert told.ram <= 64_000
    assert (tmp_path / "c" / "network.c").stat().st_size < 1e6


def test_a_compiler_that_fails_is_one_line(tmp_path, monkeypatch):
    write(deployed.network(), 16, tmp_path)
    (tmp_path / "network.c").write_text("int broken(")
    with pytest.raises(UserError, match="network.c: .* does not compile it") as error:
        Compiled(tmp_path)
    assert "\n" not in str(error.value)
    monkeypatch.setenv("CC", "no-such-compiler")
    assert compiled.compiler() is None
    with pytest.raises(UserError, match="found no C compiler"):
        Compiled(tmp_path)


def test_a_sign_on_the_edge_is_plus_one(tmp_path):
    """x = -shift gives +1, the next float below gives -1, as in torch: of the stem's own map."""
    network = deployed.network(neck=False, stem="small")
    network.conv.weight.zero_()
    network.bn.running_mean.zero_()
    edge = network.bn.bias.clone()
    network.blocks[0].conv3.shift.copy_(-edge.view(1, -1, 1, 1))
    x = torch.zeros(1, 3, 8, 8)
    write(network, 8, tmp_path / "on")
    network.blocks[0].conv3.shift.copy_(
        -torch.from_numpy(np.nextafter(edge.numpy(), np.float32(9))).view(1, -1, 1, 1)
    )
    write(network, 8, tmp_path / "below")
    found = [Compiled(tmp_path / name)(x) for name in ("on", "below")]
    assert deployed.apart(network(x), found[1])[0] < 1e-5
    assert deployed.apart(*found)[0] > 1e-2
