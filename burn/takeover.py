"""Taking over: what one engine has finished, the other takes for done, without running a step.

The engine that made the results is asked first whether they are whole and belong to params.yaml as
it stands: to record whatever lies there would make it look finished. Works in the root of the
repository. Files in which Snakemake or DVC keep their records are read by their own code.
"""

import ast
import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

from burn import places
from burn.artifacts import read_json, release_runs
from burn.data import listing
from burn.errors import UserError
from burn.experiment.reading import load, read_yaml
from burn.experiment.reads import settings

PROFILE = "workflow/profiles/default/config.yaml"
RUN = "snakemake --cores 2 all"


def to_dvc() -> None:
    """Record for DVC what Snakemake has made: `dvc status` is clean after it (but for the listing of
    data sets, which DVC looks at each time).

    An output altered since it was made is told by its date, and by the checksum that Snakemake
    keeps of what a job has read. Not told is a file that no job reads (a table) with its date put
    back, and one that was altered before all that read it ran.

    Raises UserError if anything is left to run, or was altered, or was not made by Snakemake here.
    """
    experiment = load("params.yaml")
    with _quiet(), _workflow() as (workflow, dag):
        dag.printrulegraph()  # finds out what is to run, and runs nothing
        jobs = [job for level in workflow.dag.toposorted() for job in sorted(level, key=_node)]
        jobs = [job for job in jobs if job.output]
        _check_outputs(workflow, jobs)
        _check_nothing_to_run(workflow, jobs)
    listing.write(settings(experiment, "listing"), places.listing(Path("results") / experiment.run))
    # A file that DVC puts a link or copy in place of would look altered to the next call.
    _run("dvc", "commit", "--quiet", "--force", "--no-relink")


def to_snakemake() -> None:
    """Record for Snakemake what DVC has made, or pulled: `snakemake -n all` has nothing to do then.

    Raises UserError if `dvc status` finds that parameters, files or outputs differ.
    """
    changed = json.loads(_run("dvc", "status", "--json"))
    of_listing = [entry for entry in changed.pop("listing", []) if entry != "always changed"]
    if of_listing:
        changed["listing"] = of_listing
    if not changed:
        _check_listing(load("params.yaml"))
    else:
        found = [(stage, *_difference(one)) for stage, entry in changed.items() for one in entry]
        stage, what, absent = next((f for f in found if f[2]), found[0])
        command = "dvc pull, or dvc repro" if absent else "dvc repro"
        _refuse(f"{stage}: {what}", f"stages that differ: {len(changed)}", command)
    try:
        _touch()
    finally:  # Snakemake held the run, inside this process
        release_runs()


def _check_listing(experiment) -> None:
    """Refuses a run whose data sets are not those that DVC has prepared."""
    made = read_json(places.listing(Path("results") / experiment.run) / places.METRICS)
    odd = [
        name for name in experiment.data.sets if made.get(name) != listing.of(experiment.data, name)
    ]
    if odd:
        _refuse(f"data.sets.{odd[0]}: its files have changed", f"sets: {len(odd)}", "dvc repro")


def _check_outputs(workflow, jobs) -> None:
    """Refuses outputs that are not what their jobs left; missing ones are jobs to run."""
    records = workflow.persistence
    made = {output: records.metadata(output) for job in jobs for output in job.output}
    made = {output: record for output, record in made.items() if Path(output).exists()}
    unknown = [output for output, record in made.items() if record is None]
    if unknown:
        what = f"{unknown[0]}: Snakemake has not made it here"
        _refuse(what, f"files: {len(unknown)}", f"dvc repro, or {RUN} --forceall")
    read = {}
    for record in made.values():
        for file, checksum in (record.input_checksums or {}).items():
            read.setdefault(file, set()).add(checksum)

    def altered(output, record):
        if output not in read:
            return any(file.stat().st_mtime > record.endtime for file in _files(Path(output)))
        if Path(output).stat().st_mtime == record.endtime:
            return False
        now = workflow.async_run(output.checksum(force=True))
        return read[output] != {now}

    changed = [output for output, record in made.items() if altered(output, record)]
    if changed:
        what = f"{changed[0]}: altered since it was made"
        again = " ".join(next(o for o in job.output if o in changed)
                         for job in jobs if not set(changed).isdisjoint(job.output))  # fmt: skip
        _refuse(what, f"files: {len(changed)}", f"{RUN} --forcerun {again}")


def _check_nothing_to_run(workflow, jobs) -> None:
    """Refuses what Snakemake would run, and outputs that it does not miss as nothing waits for them."""

    def whole(job):
        unfinished = workflow.async_run(workflow.persistence.incomplete(job))
        return not unfinished and all(Path(output).exists() for output in job.output)

    planned = [job for job in jobs if workflow.dag.needrun(job)]
    run = planned or [job for job in jobs if not whole(job)]
    if run:
        first = next((job for job in run if workflow.dag.reason(job)), run[0])
        what = f"{_node(first)}: {_reason(first, workflow.dag)}"
        again = "" if planned else f" --forcerun {' '.join(map(_node, run))}"
        _refuse(what, f"steps to run: {len(run)} of {len(jobs)}", RUN + again)


def _reason(job, dag) -> str:
    reason = dag.reason(job)
    missing = [Path(output).name for output in job.output if not Path(output).exists()]
    if missing:
        return f"{missing[0]} is missing"
    if reason.params_changed:
        sides = [reason.params_changed.only_old, reason.params_changed.only_new]
        old, new = ([ast.literal_eval(text) for text in side] for side in sides)
        if len(old) == len(new) == 1:
            with contextlib.suppress(TypeError, ValueError):
                return f"made with another {_first_key(json.loads(old[0]), json.loads(new[0]))}"
    if reason.updated_input:
        return f"{min(reason.updated_input)} has changed"
    return next(reason.get_names(), "left unfinished")


def _first_key(old, new, at: str = "") -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*new, *old]:
            if old.get(key) != new.get(key):
                return _first_key(old.get(key), new.get(key), f"{at}.{key}".lstrip("."))
    return at


def _difference(entry) -> tuple[str, bool]:
    """The first thing that `dvc status` says of a stage, and whether it is an output not there."""
    if isinstance(entry, str):  # "changed command"
        return entry, False
    kind, files = next(iter(entry.items()))
    file, state = next(iter(files.items()))
    if isinstance(state, dict):  # params.yaml: {key: state}
        key, state = next(iter(state.items()))
        file = f"{key} in {file}"
    absent = kind == "changed outs" and state in ("deleted", "not in cache")
    return f"{file} is {state}", absent


def _node(job) -> str:
    return str(min(job.output, default=""))


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def _refuse(what: str, how_many: str, command: str) -> None:
    raise UserError(f"{what} ({how_many}); run: {command}")


@contextlib.contextmanager
def _workflow(**settings):
    """Snakemake's (workflow, its API's DAG) of the experiment; raises UserError for its errors."""
    from snakemake.api import SnakemakeApi
    from snakemake.exceptions import WorkflowError
    from snakemake.settings.types import (
        ConfigSettings,
        DAGSettings,
        OutputSettings,
        Quietness,
        ResourceSettings,
    )

    limit = read_yaml(PROFILE, "the repository's root")["max-checksum-file-size"]
    try:
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
            workflow = api.workflow(
                ResourceSettings(cores=1), ConfigSettings(), snakefile=Path("workflow/Snakefile")
            )
            wanted = DAGSettings(targets={"all"}, max_checksum_file_size=limit, **settings)
            yield workflow._workflow, workflow.dag(wanted)
    except WorkflowError as error:
        raise UserError(f"snakemake: {' '.join(str(error).split())}") from error


def _touch() -> None:
    """`snakemake --touch --forceall --cores 1 all`, less its pause of 0.1 s after each job."""
    from snakemake.executors.touch import Executor
    from snakemake.settings.types import ExecutionSettings

    pause, Executor.SLEEPING_TIME = Executor.SLEEPING_TIME, 0
    try:
        with _quiet(), _workflow(forceall=True) as (_, dag):
            dag.execute_workflow("touch", execution_settings=ExecutionSettings(lock=False))
    finally:
        Executor.SLEEPING_TIME = pause


def _quiet():
    return contextlib.redirect_stdout(io.StringIO())


def _run(*words: str) -> str:
    """What a tool prints. Raises UserError with its last line where it fails."""
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"{' '.join(words)}: {lines[-1].removeprefix('ERROR: ')}")
    return done.stdout
