"""Artifact folders: whole or not at all, the same bytes from the same work, and where from."""

import json
import os
import platform
import re
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import graphs
import pytest

import burn
from burn import provenance
from burn.artifacts import artifact, file_hash, read_json, write_json
from burn.errors import UserError
from burn.experiment.reading import load
from burn.experiment.reads import settings

READ = {"batch": 3, "lr": 0.1}

# A step that leaves a file, says so, and then does what its second argument says.
STEP = """
import os, sys, time
from burn.artifacts import artifact
with artifact(sys.argv[1], "step", {"batch": 3, "lr": 0.1}) as work:
    work.path("half").write_text("done so far")
    work.metrics = {"top1": 50.0}
    print("working", flush=True)
    exec(sys.argv[2])
"""


def step(out: Path, then: str) -> subprocess.Popen:
    words = [sys.executable, "-c", STEP, str(out), then]
    process = subprocess.Popen(
        words, cwd=graphs.ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout.readline() == "working\n"
    return process


def make(out: Path, metrics=None, **changes) -> list[str]:
    """Make an artifact; returns what a killed step had left for it."""
    with artifact(out, **{"step": "step", "settings": READ, **changes}) as work:
        found = sorted(os.listdir(work.dir))
        work.metrics = metrics or {}
    return found


@pytest.mark.parametrize("then", ["1/0", "os._exit(1)", "sys.exit(2)", "kill"])
def test_a_killed_step_leaves_no_folder_and_keeps_its_work(tmp_path, then):
    out = tmp_path / "runs" / "out"
    process = step(out, "time.sleep(60)" if then == "kill" else then)
    if then == "kill":
        process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=30) != 0
    process.stdout.close()
    assert not out.exists()
    assert make(out) == ["half", "identity.json"]
    assert sorted(os.listdir(out)) == ["half", "metrics.json", "provenance.json"]
    assert os.listdir(out.parent) == ["out"]


@pytest.mark.parametrize(
    "changes", [{"settings": {**READ, "lr": 0.2}}, {"seed": 1}, {"step": "other"}]
)
def test_work_left_by_other_settings_is_emptied(tmp_path, changes):
    step(tmp_path / "out", "os._exit(1)").communicate()
    assert make(tmp_path / "out", **changes) == ["identity.json"]


def test_work_left_by_another_input_is_emptied(tmp_path):
    source, out = tmp_path / "input", tmp_path / "out"

    def killed():
        with pytest.raises(KeyboardInterrupt), artifact(out, "step", READ, [source]) as work:
            work.path("half").touch()
            raise KeyboardInterrupt

    source.write_text("one")
    killed()
    assert "half" in make(out, inputs=[source])
    killed()
    source.write_text("two")
    assert make(out, inputs=[source]) == ["identity.json"]


def test_work_without_a_seal_is_emptied(tmp_path):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "half").touch()
    assert make(tmp_path / "out") == ["identity.json"]


def test_one_process_at_a_time(tmp_path):
    out = tmp_path / "out"
    process = step(out, "time.sleep(60)")
    with pytest.raises(UserError) as error:
        make(out)
    assert str(error.value) == f"{out}: another process is making it; wait for it or stop it"
    process.kill()
    process.communicate()
    assert make(out) == ["half", "identity.json"]  # a dead process holds no lock


def test_a_new_artifact_replaces_the_older_one_whole(tmp_path):
    out = tmp_path / "out"
    make(out, {"top1": 1})
    (out / "left over").touch()
    with artifact(out, "step", READ) as work:
        assert read_json(out / "metrics.json") == {"top1": 1}  # readable until the new one is done
        work.metrics = {"top1": 2}
    assert sorted(os.listdir(out)) == ["metrics.json", "provenance.json"]
    assert read_json(out / "metrics.json") == {"top1": 2}
    assert os.listdir(tmp_path) == ["out"]


def test_a_missing_input_is_named_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match=r"/gone: no such file"):
        make(tmp_path / "runs" / "out", inputs=[tmp_path / "gone"])
    assert os.listdir(tmp_path) == []


def test_metrics_are_sorted_and_the_same_from_the_same_work(tmp_path):
    make(tmp_path / "a", {"b": 1, "a": {"d": 2, "c": 3}})
    make(tmp_path / "b", {"a": {"c": 3, "d": 2}, "b": 1})
    one, two = ((tmp_path / n / "metrics.json").read_bytes() for n in "ab")
    assert one == two
    assert one.decode() == '{\n "a": {\n  "c": 3,\n  "d": 2\n },\n "b": 1\n}\n'


def test_provenance_says_where_an_artifact_came_from(tmp_path):
    params = load(graphs.ROOT / "params.yaml")
    seen = settings(params, "pretrain", method="burn", stage="real")
    with artifact(tmp_path / "out", "pretrain", seen, seed=7) as work:
        work.metrics = {"top1": 1}
    found = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert found["step"] == "pretrain" and found["seed"] == 7
    assert found["params"]["train"] == params.train.model_dump()
    assert found["params"]["epochs"] == params.methods.distilled["burn"].epochs.real
    assert found["python"] == platform.python_version()
    assert found["versions"] == {
        "torch": metadata.version("torch"),
        "torchvision": metadata.version("torchvision"),
        "burn": burn.__version__,
    }
    assert found["device"]
    assert found["commit"] is None or re.fullmatch(r"[0-9a-f]{40}(\+changes)?", found["commit"])
    assert read_json(tmp_path / "out" / "metrics.json") == {"top1": 1}  # nothing is added to it


def test_results_of_a_run_are_no_change_of_the_commit(tmp_path, monkeypatch):
    folder = graphs.copy(tmp_path / "repo")
    (folder / "results").mkdir()
    (folder / "results" / "table.md").write_text("old")

    def git(*words):
        return subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True)

    git("add", "--all")
    git("-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "--message", "x")
    monkeypatch.setattr(provenance, "__file__", str(folder / "burn" / "provenance.py"))
    (folder / "results" / "table.md").write_text("new")
    assert re.fullmatch(r"[0-9a-f]{40}", provenance._commit())
    (folder / "burn" / "steps.py").write_text("")
    assert re.fullmatch(r"[0-9a-f]{40}\+changes", provenance._commit())


def test_commit_where_there_is_no_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("BURN_COMMIT", "abc")
    make(tmp_path / "out")
    assert read_json(tmp_path / "out" / "provenance.json")["commit"] == "abc"


def test_other_processes_of_a_run_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with artifact(tmp_path / "out", "step", READ) as work:
        assert work.dir == tmp_path / ".out.partial"  # where the first one's checkpoint is
    assert os.listdir(tmp_path) == []


def test_json_is_written_whole_and_read_with_one_line_of_complaint(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    path.write_text("{")
    with pytest.raises(UserError, match=r"x.json: not JSON: [^\n]*$"):
        read_json(path)
    for read in (read_json, file_hash):
        with pytest.raises(UserError, match=r"gone: no such file; has the step"):
            read(tmp_path / "gone")
