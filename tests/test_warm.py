"""Steps that fork from a Python which has imported torch: they say, write and end as steps do."""

import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import graphs
import pytest
from cli import ENVIRONMENT, FILES, hashes, pretrain

WAITING = """
import os, time
from burn.methods.supervised import Method as Base, Recipe as Recipe
class Method(Base):
    def step(self, views, labels, step):
        if os.path.exists({folder!r} + "/wait"):
            open({folder!r} + "/pid.tmp", "w").write(str(os.getpid()))
            os.replace({folder!r} + "/pid.tmp", {folder!r} + "/pid")
            while os.path.exists({folder!r} + "/wait"):
                time.sleep(0.02)
        return super().step(views, labels, step)
"""


@pytest.fixture(scope="module")
def server():
    """The environment of callers that have a server of their own, which is up; ends with the module."""
    folder = tempfile.mkdtemp()  # short: a socket's address has 107 bytes
    environment = {**ENVIRONMENT, "TMPDIR": folder}
    environment.pop("BURN_WARM", None)
    run("prepare", "--dataset", "nothing", "--out", "nowhere", env=environment)
    until = time.monotonic() + 120
    while not any(p.is_socket() for p in Path(folder).glob("burn-*/*")):
        assert time.monotonic() < until
        time.sleep(0.1)
    yield environment
    servers = subprocess.run(["pgrep", "-f", f"{folder}/burn-"], capture_output=True, text=True)
    for pid in servers.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    shutil.rmtree(folder)


def run(*words, env, **options):
    command = [sys.executable, "-m", "burn", *map(str, words)]
    return subprocess.run(
        command, cwd=graphs.ROOT, env=env, capture_output=True, text=True, **options
    )


def test_a_fork_writes_and_says_what_the_step_itself_does(ground, server, tmp_path):
    forked = run(*pretrain(ground, tmp_path / "forked"), env=server)
    alone = run(*pretrain(ground, tmp_path / "alone"), env={**server, "BURN_WARM": "0"})
    assert (forked.returncode, forked.stderr) == (alone.returncode, alone.stderr) == (0, "")
    assert hashes(tmp_path / "forked") == hashes(tmp_path / "alone")
    assert set(FILES) <= set(os.listdir(tmp_path / "forked"))


def test_an_error_is_one_line_and_exit_code_2(ground, server, tmp_path):
    words = pretrain(ground, tmp_path / "out", "nobody")
    forked, alone = (run(*words, env=server | {"BURN_WARM": on}) for on in ("1", "0"))
    assert forked.returncode == alone.returncode == 2
    assert forked.stderr == alone.stderr != ""


def test_an_edited_file_is_in_force_at_once(ground, server, tmp_path):
    code = tmp_path / "own.py"
    for said in ("first", "second"):
        code.write_text(f"raise SystemExit({said!r})")
        assert run(*pretrain(ground, tmp_path / "out", code=code), env=server).stderr == f"{said}\n"


@pytest.mark.parametrize("number, code", [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_a_fork_ends_with_its_caller_and_can_be_started_anew(
    ground, server, tmp_path, number, code
):
    method = tmp_path / "waiting.py"
    method.write_text(WAITING.format(folder=str(tmp_path)))
    words = pretrain(ground, tmp_path / "out", code=method)
    (tmp_path / "wait").touch()
    caller = subprocess.Popen(
        [sys.executable, "-m", "burn", *map(str, words)], cwd=graphs.ROOT, env=server
    )
    until = time.monotonic() + 120
    while not (tmp_path / "pid").exists():
        assert caller.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    fork = int((tmp_path / "pid").read_text())
    assert fork != caller.pid
    caller.send_signal(number)
    if number == signal.SIGTERM:  # it goes on to the fork, which finishes its update
        time.sleep(0.5)
        (tmp_path / "wait").unlink()
    assert caller.wait(30) == code
    (tmp_path / "wait").unlink(missing_ok=True)
    done = run(*words, env=server)  # at once: the lock of the one before is waited for
    assert done.returncode == 0, done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(fork, 0)


TOLD = """
import json, os, sys
from burn.warm import _inherited
raise SystemExit(json.dumps([_inherited(), os.getcwd(), os.isatty(0)]))
"""


def test_a_fork_has_all_that_a_process_inherits(ground, server, tmp_path):
    (tmp_path / "told.py").write_text(TOLD)
    words = pretrain(ground, tmp_path / "out", code=tmp_path / "told.py")
    forked, alone = (run(*words, env=server | {"BURN_WARM": on}) for on in ("1", "0"))
    (of_fork, *others), (of_step, *same) = json.loads(forked.stderr), json.loads(alone.stderr)
    assert others == same
    for kind, value in of_step.items():
        assert of_fork[kind] == value, kind


def test_files_are_as_private_as_the_callers_umask_says(server, tmp_path):
    for mask, mode in ((0o077, 0o600), (0o002, 0o664)):
        done = run(
            "prepare", "--dataset", "voc07", "--out", tmp_path / str(mode), env=server, umask=mask
        )
        assert done.returncode == 0, done.stderr
        for name in ("data.safetensors", "metrics.json", "provenance.json"):
            assert (tmp_path / str(mode) / name).stat().st_mode & 0o777 == mode


ADDRESS = "import sys; from burn import warm; print(warm.address())"


def address(change=None, **variables) -> str:
    """Where a caller would look for its server, in which `change` was called before it began."""
    return subprocess.run(
        [sys.executable, "-c", ADDRESS], cwd=graphs.ROOT, env=ENVIRONMENT | variables,
        preexec_fn=change, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def no_new_rights():
    assert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0


def rather_killed():
    Path("/proc/self/oom_score_adj").write_text("900")


def fewer_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))


def ignored_or_not(number):
    """The other of the two: tests may themselves run in the background."""
    ignored = signal.getsignal(number) == signal.SIG_IGN
    signal.signal(number, signal.SIG_DFL if ignored else signal.SIG_IGN)


OTHERS = {
    "umask": lambda: os.umask(0o027),
    "niceness": lambda: os.nice(1),
    "scheduler": lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
    "limits": fewer_files,
    "nohup": lambda: ignored_or_not(signal.SIGHUP),
    "in the background": lambda: ignored_or_not(signal.SIGINT),
    "blocked signals": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]),
    "no new rights": no_new_rights,
    "out of memory": rather_killed,
    "groups": lambda: os.setgroups([12345]),
    "group": lambda: os.setegid(12345),
}


@pytest.mark.skipif(sys.platform != "linux", reason="there is no server")
def test_callers_that_inherit_other_things_have_other_servers(tmp_path):
    same = address()
    assert same == address()
    for name, change in OTHERS.items():
        if name.startswith("group") and os.geteuid():
            continue  # only root may change these
        assert address(change) != same, name
    if len(some := os.sched_getaffinity(0)) > 1:
        assert address(lambda: os.sched_setaffinity(0, [min(some)])) != same
    assert address(TZ="Asia/Tokyo") != same


@pytest.mark.skipif(sys.platform != "linux", reason="there is no server")
def test_what_is_installed_anew_has_another_server(tmp_path):
    (tmp_path / "torch-1.0.dist-info").mkdir()
    old = address(PYTHONPATH=str(tmp_path))
    assert old == address(PYTHONPATH=str(tmp_path))
    (tmp_path / "torch-1.0.dist-info").rename(tmp_path / "torch-1.1.dist-info")
    upgraded = address(PYTHONPATH=str(tmp_path))
    (tmp_path / "torch-1.1.dist-info").rmdir()
    (tmp_path / "torch-1.1.dist-info").mkdir()  # the same version, of another build
    assert len({old, upgraded, address(PYTHONPATH=str(tmp_path))}) == 3


def test_there_is_none_where_a_process_belongs_to_a_job():
    code = "import sys; sys.argv = ['burn', 'cost']; from burn import warm; print(warm.wanted())"
    for variable, expected in (
        ("", sys.platform == "linux"),
        ("SLURM_JOB_ID", False),
        ("LOCAL_RANK", False),
    ):
        env = {k: v for k, v in ENVIRONMENT.items() if k != "BURN_WARM"} | (
            {variable: "0"} if variable else {}
        )
        done = subprocess.run([sys.executable, "-c", code], env=env, cwd=graphs.ROOT,
                              capture_output=True, text=True, check=True)  # fmt: skip
        assert done.stdout == f"{expected}\n"
