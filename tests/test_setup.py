"""The set-up: what is declared, locked and imported agree, and `make` does only what is left to do."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import burn

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = [Requirement(line) for line in PROJECT["dependencies"]]
EXPORTED = [Requirement(line) for line in PROJECT["optional-dependencies"]["export"]]
TESTED = [Requirement(line) for line in PROJECT["optional-dependencies"]["test"]]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())


def locked() -> list[tuple[Requirement, list[str]]]:
    """The requirements in requirements.lock, each with its hashes."""
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    rows = [line.split("--hash=") for line in text.splitlines() if not line.startswith("#")]
    return [(Requirement(row[0]), [h.strip() for h in row[1:]]) for row in rows]


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(r.name) for r in requirements}


# -- the lock ------------------------------------------------------------------------------------


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_every_dependency_is_locked_once_within_its_range(python, system):
    here = {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": system}
    rows = [r for r, _ in locked() if r.marker is None or r.marker.evaluate(here)]
    for dependency in NEEDED + EXPORTED + TESTED:
        found = [r for r in rows if canonicalize_name(r.name) == canonicalize_name(dependency.name)]
        assert len(found) == 1, dependency
        assert dependency.specifier.contains(pinned(found[0])), found[0]


def pinned(row: Requirement) -> str:
    (pin,) = row.specifier
    assert pin.operator == "==" and "*" not in pin.version and row.url is None, row
    return pin.version


def test_every_locked_version_is_exact_and_has_hashes():
    rows = locked()
    assert len(rows) > len(NEEDED)
    for row, hashes in rows:
        assert pinned(row)
        assert hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", h) for h in hashes), row
    assert (ROOT / "requirements.lock").stat().st_size < 2**20


@pytest.mark.parametrize(
    "name", ["requirements.lock", "pyproject.toml", "environment.yml", "Makefile", ".ci/run"]
)
def test_no_address_and_no_path_of_one_machine(name):
    text = (ROOT / name).read_text().replace("#!/usr/bin/env bash", "").replace("/dev/null", "")
    address = re.compile(r"://|index-url|find-links| @ |(^|[ =\"'])(/|~)\w")
    assert [line for line in text.splitlines() if address.search(line)] == []


def test_conda_gets_the_same():
    conda = [Requirement(d) for d in ENVIRONMENT["dependencies"] if isinstance(d, str)]
    (pip,) = (d["pip"] for d in ENVIRONMENT["dependencies"] if isinstance(d, dict))
    assert pip == ["-r requirements.lock"]
    assert names(conda) == {"python", "pip"}
    (python,) = (r.specifier for r in conda if r.name == "python")
    assert set(SpecifierSet(PROJECT["requires-python"])) <= set(python)


# -- the code ------------------------------------------------------------------------------------


def imported(folder: str) -> dict[str, str]:
    """Top-level modules imported anywhere under a folder, late imports too, with a file of each."""
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module]
            found |= {module.partition(".")[0]: str(path.relative_to(ROOT)) for module in modules}
    return found


@pytest.mark.parametrize(
    ("folder", "declared"),
    [
        ("burn", NEEDED + EXPORTED),
        ("tests", NEEDED + EXPORTED + TESTED),
        ("benchmarks", NEEDED + TESTED),
    ],
)
def test_what_is_imported_is_declared(folder, declared):
    own = {"burn"} | {path.stem for path in (ROOT / folder).glob("*.py")}
    packages = packages_distributions()
    modules = {m: f for m, f in imported(folder).items() if m not in own | sys.stdlib_module_names}
    assert folder != "burn" or "torch" in modules
    for module, file in modules.items():
        of = {canonicalize_name(name) for name in packages.get(module, [])}
        assert of & names(declared), f"{file}: imports {module}; pyproject.toml does not declare it"


def test_one_version_everywhere():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == burn.__version__
    assert "version" in PROJECT["dynamic"]  # read from burn/__init__.py


# -- make ----------------------------------------------------------------------------------------


def make(folder: Path, *words: str) -> str:
    """What make prints there, told nothing by a make that runs these tests."""
    calm = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "ARGS"))}
    command = ["make", *words]
    return subprocess.run(
        command, cwd=folder, env=calm, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_sets_up_once(tmp_path):
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "burn").mkdir()
    shutil.copy(ROOT / "burn" / "__init__.py", tmp_path / "burn")
    first = make(tmp_path, "--dry-run", "all")
    order = ["-m venv", "--require-hashes -r requirements.lock", "snakemake --cores all all"]
    assert sorted(order, key=first.index) == order

    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("uv", ".setup"):
        (tmp_path / ".venv" / "bin" / name).touch()
    for target, tool in (("all", "snakemake"), ("test", "pytest"), ("lint", "ruff")):
        again = make(tmp_path, "--dry-run", target)
        assert tool in again and "venv --clear" not in again and "uv pip" not in again

    os.utime(tmp_path / "requirements.lock", (2**31 - 9, 2**31 - 9))
    changed = make(tmp_path, "--dry-run", "test")
    assert "uv pip install" in changed and "-m venv" not in changed


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_alone_lists_every_target():
    text = make(ROOT)
    (phony,) = re.findall(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {line.split()[1] for line in text.splitlines()} == set(phony.split()) - {"help"}


def test_ci_runs_make_test_last():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().splitlines()[-1] == "make test"
    subprocess.run(["bash", "-n", script], check=True)
