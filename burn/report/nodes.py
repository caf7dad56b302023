"""What a run was made with, told by the provenance of its steps: parameters, machines, commits."""

from pathlib import Path
from typing import Any

from burn import places
from burn.artifacts import read_json
from burn.experiment.schema import STAGES
from burn.places import PROVENANCE

SHORT, MINUTES = 12, len("2026-01-02T03:04")  # characters of a commit and of a time that are shown
# What each step reads of params.yaml by the name it has there; {0}: the data set. burn.experiment.reads.READS says
# it of every step; what the report itself reads tells the rest.
KEYS = {
    "data": {"root": "data.root", "download": "data.download", "spec": "data.sets.{0}"},
    "teacher": {"teacher": "teacher", "augment": "augment"},
    "pretrain": {"student": "student", "train": "train", "augment": "augment"},
}


def provenances(results: Path, folders: list[Path]) -> dict[str, dict[str, Any]]:
    """Folder, relative to `results` -> its provenance.json, for those that have one."""
    found = {str(f.relative_to(results)): f / PROVENANCE for f in folders}
    return {name: read_json(path) for name, path in found.items() if path.exists()}


def parameters(results: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """The parameters a run was made with: dotted key of params.yaml -> value, sections opened.

    asked: what its report read of params.yaml (seeds, pretrain_on, methods, protocols, report). If
    steps were run with several values of one key, the value is the list of them under "several".
    Raises UserError if a provenance.json cannot be read.
    """
    seen: dict[str, list[Any]] = {}
    for name, found in provenances(results, folders(results, asked)).items():
        kind, *names = Path(name).parts
        read, wanted = found["params"], KEYS.get(kind, {})
        if kind == "protocols":  # its options are a section of `tasks`
            wanted = {"options": f"tasks.{read['protocol']['task']}"}
        for short, key in wanted.items():
            for leaf, value in opened(read[short], key.format(*names)):
                known = seen.setdefault(leaf, [])
                if value not in known:
                    known.append(value)
    flat = {k: v[0] if len(v) == 1 else {"several": v} for k, v in seen.items()}
    return dict(sorted((flat | dict(opened_all(asked))).items()))


def folders(results: Path, asked: dict[str, Any]) -> list[Path]:
    """The artifact folders that tell a run's parameters."""
    sets = {protocol["dataset"] for protocol in asked["protocols"].values()}
    known = [name for family in asked["methods"].values() for name in family]
    out = [places.dataset(results, name) for name in sorted(sets | {asked["pretrain_on"]})]
    out += [places.teacher(results, seed) for seed in asked["seeds"]]
    out += [
        places.network(results, method, seed, stage)
        for method in known
        for seed in asked["seeds"]
        for stage in STAGES
    ]
    return out + [places.protocol(results, name) for name in asked["protocols"]]


def opened_all(sections: dict[str, Any]) -> list[tuple[str, Any]]:
    """`opened`, of every section."""
    return [leaf for key, value in sections.items() for leaf in opened(value, key)]


def opened(value: Any, key: str) -> list[tuple[str, Any]]:
    """(dotted key, value) of everything below `key`; lists and empty sections are values."""
    if not isinstance(value, dict) or not value:
        return [(key, value)]
    return [leaf for k, v in value.items() for leaf in opened(v, f"{key}.{k}")]


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """The sections that dotted keys speak of: the inverse of `opened`."""
    out: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        section = out
        for part in path:
            section = section.setdefault(part, {})
        section[last] = value
    return out


def machines(found: dict[str, dict[str, Any]]) -> list[tuple[str, str, str, str, int]]:
    """(what made them, commit, device and precision, when, how many) of provenances, equal ones together."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for one in found.values():
        versions = ", ".join(f"{k} {v}" for k, v in one["versions"].items() if v)
        made = f"Python {one['python']}, {versions}"
        commit, *changes = (one["commit"] or "unknown").split("+")
        device = ", ".join(filter(None, (one["device"], one.get("precision"))))
        key = (made, "+".join([commit[:SHORT], *changes]), device)
        when = (one.get("finished") or "").partition("+")[0]  # UTC, as the heading says
        groups.setdefault(key, []).append(when[:MINUTES].replace("T", " "))
    out = []
    for (made, commit, device), times in groups.items():
        told = sorted(time for time in times if time)
        when = " to ".join(dict.fromkeys(told[:1] + told[-1:])) or "not recorded"
        out.append((made, commit, device, when, len(times)))
    return out
