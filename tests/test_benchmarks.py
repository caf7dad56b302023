"""The benchmarks are run by hand; what they import from the package must still be there."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_what_the_benchmarks_import_exists():
    """In a process of its own, as some import OpenVINO (conftest.py)."""
    lines = []
    for file in sorted((ROOT / "benchmarks").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("burn"):
                lines.append(f"{ast.unparse(node)}  # {file.name}")
    assert len(lines) > 10
    done = subprocess.run([sys.executable, "-"], input="\n".join(lines), cwd=ROOT, text=True,
                          capture_output=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
