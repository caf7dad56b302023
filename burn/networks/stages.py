"""Which networks a method has left, and which of them is its result: the last."""

from pathlib import Path
from typing import Any

from burn.artifacts import read_json
from burn.experiment.schema import STAGES
from burn.places import METRICS


def trained(networks: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Stage -> folder and metrics.json of every trained stage under `networks` (or of the one network
    there).

    Of an imported network that is the stage it is of. If there is none (`random`), all of them count.
    """
    if (networks / STAGES[0]).is_dir():
        folders = {stage: networks / stage for stage in STAGES}
    else:
        folders = {read_json(networks / METRICS, stage=str)["stage"]: networks}
    known = {
        stage: (folder, read_json(folder / METRICS, epochs=int))
        for stage, folder in folders.items()
    }
    return {
        stage: (folder, facts)
        for stage, (folder, facts) in known.items()
        if facts["epochs"] > 0 or facts.get("imported") == stage
    } or known
