"""A step depends on the source files it computes with: on all of them, and on no others."""

import ast
from pathlib import Path

import graphs
import pytest

from burn.steps import PLUMBING, SOURCES, files

# Where each step begins, beside the code that the DAG hands it: a method's or a task's file.
ENTRIES = {
    "listing": ["burn/data/listing.py"],
    "prepare": ["burn/data/prepare.py"],
    "teacher": ["burn/teacher.py", "burn/methods"],
    "pretrain": ["burn/pretrain.py", "burn/methods"],
    "evaluate": ["burn/evaluate.py", "burn/tasks"],
    "cost": ["burn/deploy/cost.py"],
    "export": ["burn/export.py"],
    "report": ["burn/report/__init__.py"],
}


def below(root: Path, names: list[str]) -> set[str]:
    """The Python files that `names`, files or folders relative to `root`, stand for."""
    paths = [root / name for name in names]
    found = [f for path in paths for f in (path.rglob("*.py") if path.is_dir() else [path])]
    return {file.relative_to(root).as_posix() for file in found}


def imported(root: Path, file: str, late: bool) -> set[str]:
    """The files of burn/ that `file` imports: at its top, or with `late` anywhere in it."""
    tree = ast.parse((root / file).read_text())
    names: set[str] = set()
    for node in ast.walk(tree) if late else tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    found = set()
    for name in names:
        path = root / Path(*name.split("."))
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if name.split(".")[0] == "burn" and candidate.exists():
                found.add(candidate.relative_to(root).as_posix())
    return found


def closure(root: Path, step: str) -> set[str]:
    """Every file of burn/ that `step` can import, the code handed to it left out."""
    plumbing = below(root, PLUMBING)
    handed = below(root, [e for e in ENTRIES[step] if (root / e).is_dir()])
    seen: set[str] = set()
    waiting = below(root, ENTRIES[step])
    while waiting:
        file = waiting.pop()
        seen.add(file)
        # Of plumbing, what it imports at once: what it can hand over late (burn.load), no step calls.
        waiting |= imported(root, file, late=file not in plumbing) - seen
    return seen - handed


def stray(root: Path, step: str) -> set[str]:
    return closure(root, step) - below(root, SOURCES[step]) - below(root, PLUMBING)


@pytest.mark.parametrize("step", ENTRIES)
def test_all_that_a_step_can_import_lies_in_its_folders_or_is_plumbing(step):
    assert stray(graphs.ROOT, step) == set()


def test_every_step_with_sources_is_looked_at():
    assert set(ENTRIES) == {step for step, sources in SOURCES.items() if sources}


@pytest.mark.parametrize(
    ("step", "file", "line", "lost"),
    [
        ("pretrain", "burn/training/fit.py", "from burn.released import read", "released/read.py"),
        ("evaluate", "burn/tasks/linear.py", "import burn.training.losses", "training/losses.py"),
        ("report", "burn/report/tables.py", "from burn.deploy.cost import count", "deploy/cost.py"),
    ],
)
def test_an_import_from_outside_is_noticed(tmp_path, step, file, line, lost):
    """Late imports, too, and what the imported file imports in turn."""
    folder = graphs.copy(tmp_path / "repo")
    source = folder / file
    source.write_text(f"{source.read_text()}\n\ndef late():\n    {line}\n")
    assert f"burn/{lost}" in stray(folder, step)


def test_a_used_module_that_is_moved_out_is_noticed(tmp_path):
    folder = graphs.copy(tmp_path / "repo")
    (folder / "burn/training/distributed.py").rename(folder / "burn/distributed.py")
    for file in below(folder, ["burn"]):
        text = (folder / file).read_text()
        (folder / file).write_text(text.replace("burn.training.distributed", "burn.distributed"))
    assert stray(folder, "pretrain") == stray(folder, "teacher") == {"burn/distributed.py"}


def test_the_synchronised_batch_norm_is_a_source_of_training():
    for step in ("teacher", "pretrain"):
        assert "burn/training/distributed.py" in files(step)
