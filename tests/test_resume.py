"""Steps that are killed or stopped go on from their checkpoint and end in the same bytes."""

import csv
import json
import os
import signal
import subprocess
import time

import pytest
from cli import call, hashes, pretrain, start, teacher

from burn.training import fit

# A method itself; at one step it stops, or waits to be killed, while there is a file that says so.
WATCHED = """
import os, time
from burn.methods.{name} import Method as Base, Recipe as Recipe
class Method(Base):
    def step(self, views, labels, step):
        if step == {step} and os.path.exists({folder!r} + "/stop"):
            raise KeyboardInterrupt
        if step == {step} and os.path.exists({folder!r} + "/signal"):
            os.kill(os.getpid(), int(open({folder!r} + "/signal").read()))
        if step == {step} and os.path.exists({folder!r} + "/wait"):
            time.sleep(600)
        return super().step(views, labels, step)
"""


def watched(folder, name, step):
    code = folder / "watched.py"
    code.write_text(WATCHED.format(name=name, step=step, folder=str(folder)))
    return code


def check(whole, cut, said, at, looks):
    """`cut`, resumed at update `at`, is what `whole` is, and has logged the same at `looks`."""
    assert said.count(f"resuming at update {at} of {looks[-1]}\n") == 1
    assert hashes(cut) == hashes(whole)
    logs = [(f / "log.jsonl").read_text().splitlines() for f in (whole, cut)]
    rows = [[json.loads(line) for line in log] for log in logs]
    for row in rows[0] + rows[1]:
        del row["seconds"]
    assert rows[0] == rows[1] and [row["update"] for row in rows[0]] == looks
    assert sorted(os.listdir(cut)) == [
        "curve.csv", "log.jsonl", "metrics.json", "provenance.json", "weights.safetensors",
    ]  # fmt: skip
    with open(cut / "curve.csv", newline="") as file:
        curve = [{k: json.loads(v) for k, v in row.items()} for row in csv.DictReader(file)]
    assert curve == rows[0]
    return curve


def test_a_killed_stage_goes_on_to_the_same_bytes(ground, tmp_path, capsys):
    whole, cut, code = tmp_path / "whole", tmp_path / "cut", watched(tmp_path, "supervised", 22)
    assert call(*pretrain(ground, whole, code=code)) == 0
    (tmp_path / "wait").touch()
    process = start(*pretrain(ground, cut, code=code), stdout=subprocess.DEVNULL)
    until = time.monotonic() + 240
    checkpoint = tmp_path / ".cut.partial" / "checkpoint.pt"
    while not checkpoint.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert checkpoint.exists() and not cut.exists()
    (tmp_path / "wait").unlink()
    capsys.readouterr()
    assert call(*pretrain(ground, cut, code=code)) == 0
    check(whole, cut, capsys.readouterr().out, 20, [20, 24])


@pytest.mark.parametrize("step", ["pretrain", "teacher"])
def test_a_stopped_step_goes_on_to_the_same_bytes(ground, tmp_path, capsys, monkeypatch, step):
    monkeypatch.setattr(fit, "FLUSH", 5)  # checkpoints at 5 and 10 of 12
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    code = watched(tmp_path, "burn" if step == "pretrain" else "mocov2", 7)

    def words(out):
        if step == "teacher":
            return teacher(ground, out, code=code)
        return pretrain(ground, out, "burn", code=code, teacher=ground.teacher)

    assert call(*words(whole)) == 0
    (tmp_path / "stop").touch()
    assert call(*words(cut)) == 130
    assert not cut.exists()
    (tmp_path / "stop").unlink()
    capsys.readouterr()
    assert call(*words(cut)) == 0
    curve = check(whole, cut, capsys.readouterr().out, 5, [5, 10, 12])
    assert ("balance" in curve[0]) == (step == "pretrain")  # the weight of burn's similarity term


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_costs_one_update_at_most(ground, tmp_path, capsys, number):
    whole, cut, code = tmp_path / "whole", tmp_path / "cut", watched(tmp_path, "supervised", 21)
    assert call(*pretrain(ground, whole, code=code)) == 0
    (tmp_path / "signal").write_text(str(int(number)))
    before = signal.getsignal(number)
    capsys.readouterr()
    assert call(*pretrain(ground, cut, code=code)) == (130 if number == signal.SIGINT else 143)
    assert capsys.readouterr().err == (
        f"stopped by {number.name}: {cut}: update 22 of 24 done and saved; "
        "the same command goes on from there\n"
    )
    assert not cut.exists() and signal.getsignal(number) == before
    (tmp_path / "signal").unlink()
    assert call(*pretrain(ground, cut, code=code)) == 0
    check(whole, cut, capsys.readouterr().out, 22, [20, 24])


def test_ctrl_c_before_training_is_one_line(ground, tmp_path, capsys):
    (tmp_path / "code.py").write_text("raise KeyboardInterrupt")
    assert call(*pretrain(ground, tmp_path / "out", code=tmp_path / "code.py")) == 130
    assert capsys.readouterr().err == "stopped by SIGINT\n"
