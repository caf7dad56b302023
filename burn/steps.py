"""The source files each step computes with: a change in one of them reruns the step.

Snakemake asks for the files, dvc.yaml names the folders (a test compares). A method's file and a
task's file are not here: they are nodes' inputs of their own, so that editing one reruns only its
own row or column. PLUMBING carries what is computed and does not decide it; a test walks all that
a step can import, and finds it in these two lists.
"""

from pathlib import Path

NETWORKS, IMAGES = "burn/networks", "burn/images"

SOURCES = {
    "listing": ["burn/images/decode.py", "burn/data"],  # a step for DVC alone
    "prepare": ["burn/images/decode.py", "burn/data"],
    "teacher": [NETWORKS, IMAGES, "burn/training", "burn/teacher.py"],
    "pretrain": [NETWORKS, IMAGES, "burn/training", "burn/pretrain.py"],
    "protocol": [],
    "evaluate": [NETWORKS, IMAGES, "burn/evaluation", "burn/evaluate.py"],
    "cost": [NETWORKS, "burn/deploy"],
    "export": [NETWORKS, IMAGES, "burn/deploy", "burn/evaluation/features.py", "burn/export.py"],
    "report": ["burn/report"],
}
PLUMBING = [
    "burn/__init__.py",
    "burn/artifacts.py",  # whole or not at all
    "burn/errors.py",
    "burn/experiment",  # params.yaml: what it says is a dependency of its own
    "burn/data/registry.py",  # for the names of the data sets
    "burn/machine.py",  # device, threads, processes
    "burn/places.py",
    "burn/progress.py",
    "burn/provenance.py",
    "burn/warm.py",  # a Python that waits with torch imported
]
SUFFIXES = (".py", ".csv", ".html", ".c", ".h", "Makefile")


def files(step: str) -> list[str]:
    """The files of the step's folders, relative to the repository, sorted."""
    root, out = Path(__file__).parent.parent, set()
    for source in map(root.joinpath, SOURCES[step]):
        below = source.rglob("*") if source.is_dir() else [source]
        out |= {f.relative_to(root).as_posix() for f in below if f.name.endswith(SUFFIXES)}
    return sorted(out)
