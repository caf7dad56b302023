"""A protocol (a task on a data set) and the examination of one method's networks by it."""

import math
import shutil
from pathlib import Path
from typing import Any

from burn.artifacts import artifact, file_hash, read_json, write_json
from burn.errors import UserError
from burn.experiment.checks import check_section
from burn.experiment.overlay import merge
from burn.experiment.plugins import load_code
from burn.experiment.reads import plain
from burn.experiment.schema import Machine
from burn.networks import stages
from burn.places import CODE, METRICS, PREDICTIONS, PROTOCOL, WEIGHTS


def write_protocol(settings: dict[str, Any], name: str, code: Path, data: Path, out: Path) -> None:
    """Write down what will be examined: the task's code and options, the data set's identity.

    Raises UserError if the set has not what the task needs.
    """
    has = read_json(data / METRICS, annotations=list)["annotations"]
    needs = getattr(load_code(code, "Options", "examine"), "NEEDS", None)
    if needs is not None and needs not in has:
        raise UserError(
            f"protocols.{name}.dataset: found {settings['protocol'].dataset!r}, which has "
            f"{', '.join(has)}; allowed: a set with {needs}"
        )
    inputs = [code, data / METRICS]
    with artifact(out, "protocol", settings, inputs) as work:
        shutil.copyfile(code, work.path(CODE))
        entry = {
            "protocol": name,
            **plain(settings["protocol"]),
            "options": merge(settings["options"], settings["protocol"].options),
            "data": str(data),
            "code_sha256": file_hash(code),
            "data_sha256": file_hash(data / METRICS),
        }
        write_json(work.path(PROTOCOL), entry)
        work.metrics = {k: v for k, v in entry.items() if k != "data"}


def evaluate(protocol: Path, networks: Path, seed: int, out: Path, machine: Machine) -> None:
    """Examine every trained stage under `networks` (or the one network there) by `protocol`.

    Of an imported network that is the stage it is of. If there is none (`random`), all of them are
    examined. If the protocol has `stages: last`, the last one is, and of the others metrics.json
    says only how they were trained. predictions.npz has a packed bit per test image
    (numpy.packbits) for each stage: whether the task found its class; and what other `arrays` the
    task returned, as <stage>.<name>.
    """
    said = dict.fromkeys(("protocol", "task", "dataset", "stages", "data"), str)
    entry = read_json(protocol / PROTOCOL, options=dict, **said)
    known = stages.trained(networks)
    folders = {stage: folder for stage, (folder, _) in known.items()}
    trained = {stage: facts for stage, (_, facts) in known.items()}
    examined = list(trained)[-1:] if entry["stages"] == "last" else list(trained)
    inputs = [protocol / PROTOCOL, protocol / CODE, *(folders[s] / WEIGHTS for s in examined)]
    with artifact(out, "evaluate", {}, inputs, seed=seed) as work:
        import numpy as np

        from burn.evaluation.scores import Scores
        from burn.images.store import open_data
        from burn.machine import setup
        from burn.networks import build
        from burn.networks.arithmetic import in_force

        device = setup(machine)
        task = load_code(protocol / CODE, "Options", "examine")
        options = check_section(str(protocol), "options", task.Options, entry["options"])
        if hasattr(options, "precision"):
            work.provenance["precision"] = in_force(options.precision, device)
        data, part = open_data(entry["data"]), getattr(task, "PART", None)
        results, arrays = {}, {}
        for stage, metrics in trained.items():
            kept = ("epochs", "precision", "collapsed", "collapse", "updates", "images_seen", "student_passes", "train_images",
                    "stand_in", "unlabelled", "output_spread", "output_information")  # fmt: skip
            results[stage] = {k: metrics[k] for k in kept if k in metrics}
            if stage not in examined:
                continue
            network = build.load(folders[stage]).to(device)
            scores = task.examine(network, data, options, seed, device, machine.workers)
            if not isinstance(scores, Scores):
                raise UserError(
                    f"burn/tasks/{entry['task']}.py: examine: found a {type(scores).__name__}; "
                    "expected burn.evaluation.scores.Scores"
                )
            if odd := [k for k, v in scores.values.items() if not math.isfinite(v)]:
                raise UserError(
                    f"{networks} {stage}: protocol {entry['protocol']}: found {scores.values[odd[0]]} "
                    f"for {odd[0]}; expected a number"
                )
            if scores.correct is not None:
                arrays[stage] = np.packbits(scores.correct)
            arrays |= {f"{stage}.{k}": np.asarray(v) for k, v in scores.arrays.items()}
            results[stage] |= scores.entry()
            print(f"{networks} {stage}: {results[stage]}", flush=True)
        np.savez(work.path(PREDICTIONS), **arrays)
        first = next(iter(trained.values()))
        work.metrics = {
            "protocol": entry["protocol"],
            "task": entry["task"],
            "dataset": entry["dataset"],
            "stand_in": data.stand_in,
            "classes": len(data.classes),
            "train_images": len(data.split("train", part)),
            "test_images": len(data.split("test", part)),
            "method": first.get("method", "teacher"),
            "seed": seed,
            "stages": results,
        }
