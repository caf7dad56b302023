"""The Slurm profile on a real Slurm of one node; skipped where Debian's slurm-wlm and munge are missing."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from getpass import getuser

import graphs
import pytest
from conftest import ENVIRONMENT

from burn.experiment.overlay import merge

NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel")
PATH = os.pathsep.join((ENVIRONMENT["PATH"], "/usr/sbin"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(shutil.which(name, path=PATH) for name in NEEDED) or os.getuid() != 0,
        reason="needs Debian's slurm-wlm and munge, and root to start them",
    ),
    pytest.mark.skipif(
        importlib.util.find_spec("snakemake_executor_plugin_slurm") is None,
        reason="needs snakemake-executor-plugin-slurm",
    ),
]
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/d
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/d.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports() -> list[int]:
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
        return [s.getsockname()[1] for s in (a, b)]


def wait_for(true, seconds: int, what: str):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"no {what} after {seconds} s"
        time.sleep(0.5)


@pytest.fixture
def slurm(tmp_path_factory):
    """The environment in which Slurm's commands speak to a cluster of this machine alone."""
    folder = tmp_path_factory.mktemp("slurm")
    for part in folder.parents[:3]:  # munge wants its socket to be reached by all
        part.chmod(0o755)
    for name in ("ctld", "d"):
        (folder / name).mkdir()
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o400)
    facts = {"host": socket.gethostname(), "ports": free_ports(), "folder": folder}
    conf = CONF.format(**facts, user=getuser(), cpus=os.cpu_count())
    (folder / "slurm.conf").write_text(conf)
    # The plugin clears SLURM_CONF from the environment of srun.
    srun = (
        f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun", path=PATH)} "$@"\n'
    )
    (folder / "bin").mkdir()
    (folder / "bin" / "srun").write_text(srun)
    (folder / "bin" / "srun").chmod(0o755)
    own = os.pathsep.join((str(folder / "bin"), PATH))
    environment = ENVIRONMENT | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": own}
    munge = [f"--{what}-file={folder}/munge.{what}" for what in ("pid", "log", "seed")]
    commands = [
        ["munged", "--foreground", "--force", f"--key-file={folder}/key",
         f"--socket={folder}/munge.socket", *munge],
        ["slurmctld", "-D"], ["slurmd", "-D"],
    ]  # fmt: skip
    started = []
    try:
        for words in commands:
            log = open(folder / f"{words[0]}.log", "w")
            started.append(subprocess.Popen(words, env=environment, stdout=log, stderr=log))
            time.sleep(1)

        def idle():
            done = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True)
            return b"idle" in done.stdout

        wait_for(idle, 60, "idle node")
        yield environment
    finally:
        subprocess.run(["scancel", "--user", getuser()], env=environment, capture_output=True)
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def test_a_job_that_is_warned_saves_and_goes_on(slurm, smoke_params, tmp_path):
    changes = {
        "machine": {"device": "cpu"},
        "teacher": {"epochs": 200, "train": {"checkpoint_minutes": 60}},
    }
    folder = graphs.copy(tmp_path / "repo", merge(smoke_params, changes))
    target, log = (
        "results/smoke/teacher/seed0/metrics.json",
        folder / "results/smoke/logs/teacher/seed0.log",
    )
    words = [sys.executable, "-m", "snakemake", "--workflow-profile", "workflow/profiles/slurm", target,
             "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "3",
             "--seconds-between-status-checks", "3", "--latency-wait", "5"]  # fmt: skip
    with open(tmp_path / "out", "w") as out:
        process = subprocess.Popen(words, cwd=folder, env=slurm, stdout=out, stderr=out)
    said = lambda: log.read_text() if log.exists() else ""  # noqa: E731
    wait_for(lambda: "update " in said() or process.poll() is not None, 200, "training")
    assert process.poll() is None, (tmp_path / "out").read_text()[-3000:]
    # As Slurm does two minutes before a time limit, and before a preemption.
    subprocess.run(["scancel", "--user", getuser(), "--signal=TERM"], env=slurm, check=True)
    wait_for(lambda: "stopped by SIGTERM: " in said(), 60, "end of the update")
    checkpoint = folder / "results/smoke/teacher/.seed0.partial/checkpoint.pt"
    assert checkpoint.exists()
    assert process.wait(300) == 0, (tmp_path / "out").read_text()[-3000:]
    assert "resuming at update " in said() and (folder / target).exists()
    assert (tmp_path / "out").read_text().count(
        "submitted with SLURM jobid"
    ) >= 3  # data, twice teacher
