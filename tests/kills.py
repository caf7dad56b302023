"""Kill a whole smoke run at random moments, start it again each time, and compare what it made.

    python tests/kills.py --signal KILL --times 20
    python tests/kills.py --signal TERM --times 5
    python tests/kills.py --signal KILL --times 3 --engine dvc

Takes minutes, so no test calls it. Exits with 1 if a file differs from that of a run left alone, or if a
SIGTERM cost a training step more than the update it was in. Trainings are long enough here, and save so
often, that most kills find a checkpoint.
"""

import argparse
import hashlib
import random
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import graphs
import psutil
import yaml
from conftest import COMMANDS, ENVIRONMENT

from burn.experiment.overlay import merge
from burn.experiment.reading import load
from burn.experiment.reads import plain

LONG = {
    "train": {"checkpoint_minutes": 0},
    "teacher": {"epochs": 100, "train": {"checkpoint_minutes": 0}},
    "methods": {"distilled": {"burn": {"epochs": {"real": 100, "binact": 100, "binary": 100}}}},
}
# What tells when, how long and by which commit (the table of terms has seconds, and the report has the
# table), and what an engine or a step keeps for itself.
OTHERWISE = re.compile(
    r"/(logs|\.[^/]*)/|/\.|provenance\.json$|log\.jsonl$|report\.(html|md)$|/terms\.\w+$"
)


def made(folder: Path) -> dict[str, str]:
    files = (p for p in (folder / "results").rglob("*") if p.is_file())
    kept = (p for p in files if not OTHERWISE.search("/" + p.relative_to(folder).as_posix()))
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in kept
    }


def start(folder: Path, engine: str) -> subprocess.Popen:
    (folder / ".dvc/tmp/rwlock").unlink(missing_ok=True)  # as `make dvc` does
    with open(folder.parent / f"{folder.name}.log", "a") as log:
        return subprocess.Popen(COMMANDS[engine], cwd=folder, env=ENVIRONMENT, stdout=log,
                                stderr=log, start_new_session=True)  # fmt: skip


def end(process: subprocess.Popen, number: int) -> None:
    """Send `number` to the engine and to all that it has started, and wait until they are gone."""
    try:
        tree = psutil.Process(process.pid)
        all_of_it = [*tree.children(recursive=True), tree]
    except psutil.NoSuchProcess:
        return
    for one in all_of_it:
        try:
            one.send_signal(number)
        except psutil.NoSuchProcess:
            pass
    psutil.wait_procs(all_of_it, 120)
    process.wait(120)


def said(folder: Path, pattern: str) -> set[str]:
    logs = (folder / "results/smoke/logs").rglob("*.log")
    return {f"{log.name} {n}" for log in logs for n in re.findall(pattern, log.read_text())}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--signal", choices=("KILL", "TERM"), default="KILL")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--engine", choices=COMMANDS, default="snakemake")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wait", type=float, nargs=2, default=(4, 24), help="seconds, at random")
    args = parser.parse_args()
    if args.engine == "dvc" and args.signal == "TERM":
        parser.error("--signal TERM needs the logs of steps, which Snakemake alone keeps")
    draw, number = random.Random(args.seed), signal.Signals[f"SIG{args.signal}"]
    overlay = yaml.safe_load((graphs.ROOT / "presets/smoke.yaml").read_text())
    raw = plain(load(graphs.ROOT / "params.yaml"))
    params = graphs.effective(merge(merge(raw, overlay), LONG))
    root = Path(tempfile.mkdtemp(prefix="kills"))
    print(f"in {root}", flush=True)

    whole = graphs.copy(root / "whole", params)
    if start(whole, args.engine).wait():
        sys.exit(f"the run that was left alone failed: {root}/whole.log")
    expected = made(whole)
    assert any(file.endswith("weights.safetensors") for file in expected)
    kills = resumable = runs = lost = 0
    wrong = []
    while kills < args.times:
        runs += 1
        cut = graphs.copy(root / f"cut{runs}", params)
        process, saved = start(cut, args.engine), set()
        while True:
            try:
                process.wait(draw.uniform(*args.wait) if kills < args.times else None)
                break
            except subprocess.TimeoutExpired:
                pass
            # What the steps that were stopped before have said, before their logs are written anew.
            lost += len(saved - said(cut, r"resuming at (update \d+) of")) if saved else 0
            end(process, number)
            kills += 1
            partial = [*(cut / "results").rglob(".*.partial/checkpoint.pt")]
            resumable += bool(partial)
            saved = said(cut, r"stopped by SIGTERM: .*: (update \d+) of \d+ done and saved")
            print(f"{kills}: {len(partial)} steps with a checkpoint; {sorted(saved)}", flush=True)
            process = start(cut, args.engine)
        lost += len(saved - said(cut, r"resuming at (update \d+) of")) if saved else 0
        if process.returncode:
            sys.exit(f"exit code {process.returncode}: {root}/cut{runs}.log")
        found = made(cut)
        wrong += [f for f in expected.keys() | found.keys() if expected.get(f) != found.get(f)]
    print(f"{args.engine}: {kills} times SIG{args.signal} in {runs} runs, {resumable} with a step that "
          f"could go on; {len(expected)} files, {len(wrong)} of them different: {sorted(wrong)[:5]}; "
          f"steps that lost more than an update after a SIGTERM: {lost}")  # fmt: skip
    sys.exit(bool(wrong or lost))


if __name__ == "__main__":
    main()
