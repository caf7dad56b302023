"""Two engines on one run: one of them refuses with one line, and nothing is damaged."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import graphs
import pytest
from conftest import ENVIRONMENT

from burn import artifacts
from burn.artifacts import artifact, hold_run
from burn.errors import UserError

BUSY = "another Snakemake or DVC is at work in it; wait for it or stop it"
HOLD = """
import sys, time
from pathlib import Path
from burn.artifacts import hold_run
held = hold_run(Path("results/x"), shared=sys.argv[1] == "shared")
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(artifacts.HELD, "")
    monkeypatch.setenv("PYTHONPATH", str(graphs.ROOT))
    return tmp_path


def other(how) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLD, how], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def make():
    with artifact("results/x/cost", "cost", {}):
        pass


def test_a_step_refuses_while_another_engine_has_the_run(folder):
    process = other("alone")
    with pytest.raises(UserError) as error:
        make()
    assert str(error.value) == f"results/x: {BUSY}" and not os.path.exists("results/x/cost")
    with pytest.raises(UserError):
        hold_run(Path("results/x"))
    process.kill()
    process.wait()
    make()


def test_an_engine_refuses_while_a_step_of_another_runs(folder):
    process = other("shared")
    with pytest.raises(UserError, match=BUSY):
        hold_run(Path("results/x"))
    make()  # steps of one DVC do not disturb each other
    process.kill()
    process.wait()
    with hold_run(Path("results/x")):
        make()  # a step of the engine that has it


def test_two_engines_in_one_checkout_name_it_and_not_the_run(folder):
    (folder / ".dvc").mkdir()
    process = other("alone")
    with pytest.raises(UserError) as error:
        hold_run(Path("results/y"))
    assert str(error.value) == f"{folder}: {BUSY}"
    process.kill()
    process.wait()


def test_runs_apart_do_not_matter(folder):
    process = other("alone")
    with artifact("results/y/cost", "cost", {}):
        pass
    process.kill()
    process.wait()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_a_file_system_has_no_locks_work_goes_on_and_says_so(
    folder, monkeypatch, capfd, number
):
    def no_flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(artifacts.fcntl, "flock", no_flock)
    artifacts._say_unlocked.cache_clear()
    make()
    make()
    assert os.path.exists("results/x/cost/metrics.json")
    with hold_run(Path("results/x")):
        make()
    assert capfd.readouterr().err == (
        f"warning: results/x: {os.strerror(number)}: its file system has no locks; see that no two "
        "processes make the same at once\n"
    )


SNAKEMAKE, TARGET = ["snakemake", "--cores", "1"], "results/smoke/teacher/seed0/metrics.json"


WAIT = """
import os, time
while __name__.startswith("burn_code") and os.path.exists("wait"):  # where a step runs it
    time.sleep(0.1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("second", ["snakemake", "dvc"])
def test_two_engines_at_once(smoke_params, tmp_path, second):
    """The first trains the teacher; the second, started meanwhile, refuses; the first finishes."""
    folder = graphs.copy(tmp_path / "repo", smoke_params)
    with open(folder / "burn" / "methods" / "mocov2.py", "a") as file:
        file.write(WAIT)
    (folder / "wait").touch()
    words = {"snakemake": ["snakemake", "--cores", "1", "all"], "dvc": ["dvc", "repro"]}[second]
    here = {"cwd": folder, "env": ENVIRONMENT, "text": True}
    first = subprocess.Popen([*SNAKEMAKE, TARGET], **here, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (folder / "results/smoke/logs/teacher/seed0.log").exists():
        assert first.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    done = subprocess.run(words, **here, capture_output=True)
    assert done.returncode != 0
    said = BUSY if second == "snakemake" else "Unable to acquire lock"
    assert sum(said in line for line in (done.stdout + done.stderr).splitlines()) == 1
    (folder / "wait").unlink()
    assert first.wait(120) == 0
    plan = subprocess.run([*SNAKEMAKE, "-n", TARGET], **here, capture_output=True)
    assert "Nothing to be done" in plan.stdout + plan.stderr
