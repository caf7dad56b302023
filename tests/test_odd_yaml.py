"""Whatever params.yaml holds: it is valid, or one line of at most 300 characters says why not."""

import graphs
import pytest
import yaml

from burn.errors import UserError
from burn.experiment.overlay import apply
from burn.experiment.reading import load, loaded, parse, read_yaml

TEXT = (graphs.ROOT / "params.yaml").read_text()
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]\n" for k in range(1, 40))
ODD = {
    "a date that is none": "run: 2024-13-45",
    "a date": "run: 2024-01-01",
    "a number that is none": "run: !!int abc",
    "a very long number": f"seeds: [{'9' * 5000}]",
    "a longer one in hexadecimal": f"seeds: [0x{'f' * 5000}]",
    "a key that is a list": "? [a, b]\n: 1",
    "a key that is a mapping": "? {a: 1}\n: 1",
    "nesting": "a: " + "[" * 3000 + "]" * 3000,
    "nested mappings": "{a: " * 3000 + "1" + "}" * 3000,
    "an alias bomb": BOMB,
    "an alias of itself": "a: &a [*a]",
    "a number for a section": "protocols: 3",
    "the same with a set that is left out": "protocols: 3\ndata: {sets: {cifar10: null}}",
    "a long value": f"run: {'x' * 12000}",
    "a long key": f"{'x' * 1000}: 1",
    "a line break": 'run: "a\\nb"',
    "a key with one": '"a\\nb": 1',
    "a tag": "a: !!python/object/apply:os.system [true]",
    "bytes": "run: !!binary aGVsbG8=",
    "a set": "run: !!set {a, b}",
    "a number for a name": "1: 2",
    "null for a name": "null: 2",
    "nothing": "",
    "a list": "[1, 2]",
    "control characters": "run: \x07",
    "a tab": "run:\n\t- 1",
    "a huge side": "data: {sets: {imagenet: {size: 100000}}}",
    "a huge seed": f"data: {{sets: {{imagenet: {{seed: {2**70}}}}}}}",
    "numbers without end": "train: {lr: .inf}",
    "no number": "train: {lr: .nan}",
}


def refused(work, *arguments) -> str:
    with pytest.raises(UserError) as error:
        work(*arguments)
    message = str(error.value)
    assert len(message.splitlines()) == 1 and len(message) <= 300, message
    return message


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_one_line(content, tmp_path):
    """As the whole file, and as an overlay on one that is valid."""
    path = tmp_path / "p.yaml"
    path.write_text(content)
    message = refused(load, path)
    assert str(path) in message
    (tmp_path / "params.yaml").write_text(TEXT)
    if content:
        refused(apply, tmp_path / "params.yaml", path)
    assert (tmp_path / "params.yaml").read_text() == TEXT


def test_files_that_are_no_text(tmp_path):
    (tmp_path / "p.yaml").write_bytes(b"\xff\xfe\x00")
    assert "p.yaml: not YAML: " in refused(load, tmp_path / "p.yaml")
    assert "not YAML: " in refused(load, tmp_path)


def test_aliases_and_merges_are_still_read():
    assert loaded("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a", "x") == {
        "a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 1}
    }  # fmt: skip


def test_the_end_of_a_long_message_is_kept():
    message = refused(parse, yaml.safe_load(TEXT) | {"run": "x" * 12000}, "some file")
    assert message.startswith("some file: run: found 'xxxx")
    assert message.endswith("xx...; allowed: have at most 64 characters")
    assert read_yaml(graphs.ROOT / "params.yaml") == yaml.safe_load(TEXT)
