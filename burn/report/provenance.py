"""What a run was made with, told by the provenance of its steps: parameters, machines, commits."""

from collections.abc import Iterable
from functools import reduce
from pathlib import Path
from typing import Any

import pandas as pd

from burn import places
from burn.artifacts import read_json
from burn.experiment.reads import READS, plain
from burn.experiment.schema import STAGES
from burn.places import PROVENANCE, TEACHER
from burn.report.collect import methods

SHORT, MINUTES = 12, len("2026-01-02T03:04")  # characters of a commit and of a time that are shown


def trainings(settings: dict[str, Any], results: Path) -> dict[tuple[str, int, str], Path]:
    """(method, seed, stage) -> artifact folder of all training steps, those of the teachers first."""
    seeds, rows = settings["seeds"], [m for m in methods(settings) if m != TEACHER]
    return {(TEACHER, seed, TEACHER): places.teacher(results, seed) for seed in seeds} | {
        (method, seed, stage): places.network(results, method, seed, stage)
        for method in rows
        for seed in seeds
        for stage in STAGES
    }


def provenances(results: Path, folders: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Folder, relative to `results` -> its provenance.json, for those that have one."""
    paths = {str(f.relative_to(results)): f / PROVENANCE for f in folders}
    return {name: read_json(path, params=dict) for name, path in paths.items() if path.exists()}


def parameters(results: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The parameters a run was made with: dotted key of params.yaml -> value, sections opened.

    settings: what its report read of params.yaml; the provenance of other steps tells the rest. If
    steps were run with several values of one key, the value is the list of them under "several".
    Raises UserError if a provenance.json cannot be read.
    """
    protocols, steps = settings["protocols"], {}
    sets = {protocol.dataset for protocol in protocols.values()} | {settings["pretrain_on"]}
    for name in sorted(sets):
        steps[places.dataset(results, name)] = "prepare", {"dataset": name}
    for (method, *_), folder in trainings(settings, results).items():
        steps[folder] = "teacher" if method == TEACHER else "pretrain", {}
    for name, protocol in protocols.items():
        steps[places.protocol(results, name)] = "protocol", {"task": protocol.task}
    own = [READS["report"][short] for short in settings]
    seen: dict[str, list[Any]] = {}
    for folder, (step, names) in steps.items():
        for told in provenances(results, [folder]).values():
            for short, key in READS[step].items():
                if key.partition(".")[0] in own:
                    continue
                for leaf, value in opened(told["params"][short], key.format(**names)):
                    if value not in seen.setdefault(leaf, []):
                        seen[leaf].append(value)
    flat = {k: v[0] if len(v) == 1 else {"several": v} for k, v in seen.items()}
    for key, value in settings.items():
        flat |= opened(plain(value), key)
    return dict(sorted(flat.items()))


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
        reduce(lambda section, name: section.setdefault(name, {}), path, out)[last] = value
    return out


def machines(steps: Iterable[dict[str, Any]]) -> list[tuple[str, str, str, str, int]]:
    """(what made them, commit, device and precision, when, how many) of provenances, equal ones together."""
    lines = []
    for step in steps:
        versions = ", ".join(f"{k} {v}" for k, v in step["versions"].items() if v)
        commit, *changes = (step["commit"] or "unknown").split("+")
        device = ", ".join(filter(None, (step["device"], step.get("precision"))))
        made = (
            f"Python {step['python']}, {versions}",
            "+".join([commit[:SHORT], *changes]),
            device,
        )
        when = (step.get("finished") or "").partition("+")[0]  # UTC, as the heading says
        lines.append((*made, when[:MINUTES].replace("T", " ")))
    out = []
    for made, alike in pd.DataFrame(lines, columns=range(4)).groupby([0, 1, 2], sort=False):
        times = sorted(filter(None, alike[3]))
        when = " to ".join(dict.fromkeys(times[:1] + times[-1:])) or "not recorded"
        out.append((*made, when, len(alike)))
    return out
