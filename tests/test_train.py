"""The training loop on toy methods: schedule, accumulation, resumption, NaN, collapse."""

import math
import multiprocessing
import os
import signal
import subprocess
import time

import pytest
import torch
from PIL import Image
from toys import IMAGES, PIXELS, Constant, Toy, loader, stop_at, train

from burn.artifacts import Work
from burn.errors import Stopped, UserError
from burn.experiment.schema import Train
from burn.images.store import Split
from burn.places import CHECKPOINT
from burn.progress import Progress
from burn.training import collapse
from burn.training.fit import _summary, fit, learning_rate


def test_learning_rate_rises_linearly_then_falls_as_a_cosine_to_0():
    cfg = Train(lr=2.0, warmup=0.1)
    rates = [learning_rate(u, 100, cfg) for u in range(101)]
    assert rates[:11] == pytest.approx([2.0 * (u + 1) / 11 for u in range(11)])
    assert rates[10] == max(rates) == 2.0 and rates[55] == pytest.approx(1.0)
    assert rates[10:] == pytest.approx([1 + math.cos(math.pi * u / 90) for u in range(91)])
    assert rates[100] == 0
    assert learning_rate(0, 100, Train(lr=2.0, warmup=0.0)) == 2.0


def test_the_learning_rate_may_fall_along_a_line():
    cfg = Train(lr=2.0, warmup=0.1, schedule="linear")
    rates = [learning_rate(u, 100, cfg) for u in range(101)]
    assert rates[:11] == pytest.approx([2.0 * (u + 1) / 11 for u in range(11)])
    assert rates[10:] == pytest.approx([2 - u / 45 for u in range(91)], abs=1e-12)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_rate_in_force_is_that_of_the_schedule(tmp_path, schedule):
    cfg = {"schedule": schedule, "warmup": 0.1, "lr": 0.01}
    _, _, rows = train(tmp_path / "a", epochs=20, **cfg)
    expected = [learning_rate(u - 1, 120, Train(**cfg)) for u in (20, 40, 60, 80, 100, 120)]
    assert [row["lr"] for row in rows] == pytest.approx(expected)


def test_steps_are_batches_not_epochs(tmp_path):
    load = loader(16)
    work = Work(tmp_path / "out", tmp_path, "")
    summary = fit(Toy(), load, Train(batch=16, precision="fp32"), load.steps + 3, work)
    assert (summary["updates"], summary["images_seen"]) == (9, 144)


def test_accumulated_small_batches_are_one_large_batch(tmp_path):
    settings = {"optimizer": "sgd", "lr": 0.5, "weight_decay": 1e-3}
    one, a, _ = train(tmp_path / "one", batch=16, epochs=2, **settings)
    two, b, _ = train(tmp_path / "two", batch=8, accumulate=2, epochs=2, **settings)
    assert a["updates"] == b["updates"] == 12 and a["images_seen"] == b["images_seen"] == 192
    assert (one - Toy().weights()).abs().max() > 0.05
    assert torch.allclose(one, two, atol=1e-5)


def test_accumulating_more_steps_than_there_are_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"train.accumulate: found 7; allowed: at most the 6 st"):
        train(tmp_path / "a", accumulate=7)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path, precision):
    one, summary, _ = train(tmp_path / "a", precision=precision)
    two, again, _ = train(tmp_path / "b", precision=precision)
    other, _, _ = train(tmp_path / "c", precision=precision, load=loader(seed=1))
    assert torch.equal(one, two) and summary == again and not torch.equal(one, other)


def test_precisions_differ_and_agree_roughly(tmp_path):
    one, two = (train(tmp_path / p, precision=p)[0] for p in ("fp32", "bf16"))
    assert not torch.equal(one, two) and torch.allclose(one, two, atol=0.02)


@pytest.mark.parametrize(
    ("settings", "stopped", "looks"),
    [
        ({"optimizer": "adam", "batch": 16, "epochs": 12}, 55, [20, 40, 60, 72]),
        ({"optimizer": "sgd", "batch": 16, "epochs": 12}, 70, [20, 40, 60, 72]),
        ({"batch": 2, "epochs": 2}, 85, [20, 40, 60, 80, 96]),  # within the epoch that is averaged
    ],
)
def test_a_stopped_run_goes_on_to_the_same_end(tmp_path, settings, stopped, looks, capsys):
    whole = train(tmp_path / "whole", **settings)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", Toy(stop_at(stopped)), **settings)
    with open(tmp_path / "cut" / "log.jsonl", "a") as file:
        file.write('{"update": 60, "half a ro')  # written after the checkpoint, by a dying process
    capsys.readouterr()
    resumed = train(tmp_path / "cut", **settings)
    said = f"resuming at update {stopped // 20 * 20} of {looks[-1]}\n"
    assert said in capsys.readouterr().out
    assert torch.equal(whole[0], resumed[0]) and whole[1] == resumed[1]
    for rows in (whole[2], resumed[2]):
        assert [row["update"] for row in rows] == looks
        assert [row["images"] for row in rows] == [settings["batch"] * n for n in looks]
        for row in rows:
            del row["seconds"]
    assert whole[2] == resumed[2]


def test_what_a_run_without_a_checkpoint_logged_is_forgotten(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", Toy(stop_at(30)), epochs=6, checkpoint_minutes=60)
    assert not (tmp_path / "cut" / CHECKPOINT).exists()
    _, _, rows = train(tmp_path / "cut", epochs=6)
    assert [row["update"] for row in rows] == [20, 36]


def test_no_checkpoint_is_due_before_its_time(tmp_path):
    train(tmp_path / "a", epochs=8, checkpoint_minutes=60)
    assert not (tmp_path / "a" / CHECKPOINT).exists()


@pytest.mark.parametrize(
    ("accumulate", "step", "update", "last"),
    [(1, 0, 1, None), (1, 27, 28, 20), (1, 40, 41, 40), (2, 54, 28, 20), (2, 55, 28, 20)],
)
def test_a_loss_that_is_no_number_stops_the_run_by_name(tmp_path, accumulate, step, update, last):
    def at(now):
        return math.nan if now == step else 0.0

    with pytest.raises(UserError) as error:
        train(tmp_path / "a", Toy(at), batch=8, accumulate=accumulate, epochs=12)
    checkpoint = f"{tmp_path / 'a' / CHECKPOINT} (update {last})" if last else "none yet"
    message = str(error.value)
    assert f"training: found loss nan at update {update}; expected a number" in message
    assert message.endswith(f"last good checkpoint: {checkpoint}") and "\n" not in message


def test_an_absurd_learning_rate_stops_the_run(tmp_path):
    with pytest.raises(UserError, match=r"found loss (inf|nan) at update \d+; .*lower train.lr"):
        train(tmp_path / "a", lr=1e38, optimizer="sgd", epochs=4)


def test_a_collapse_is_marked_and_said_once(tmp_path, capsys):
    _, summary, _ = train(tmp_path / "a", Constant(), epochs=20)
    assert summary["collapsed"] is True and summary["output_spread"] < collapse.MIN_SPREAD
    assert "constant outputs" in summary["collapse"]
    assert capsys.readouterr().out.count("warning: ") == 1
    _, summary, _ = train(tmp_path / "b", Toy(), epochs=20)
    assert summary["collapsed"] is False and summary["collapse"] == []
    assert "warning" not in capsys.readouterr().out


def test_a_collapse_inside_the_only_epoch_is_marked():
    def row(information):
        return {"loss": 1.0, "output_spread": 0.5, "output_information": information}

    summary = _summary([row(1.0)] * 20 + [row(1e-5)] * 2, 440, 7040, normalised=False)
    assert summary["collapsed"] is True and summary["output_information"] == 1e-5
    summary = _summary([row(1e-5)] * 20 + [row(1.0)] * 2, 440, 7040, normalised=False)
    assert summary["collapsed"] is False and summary["output_information"] == 1.0
    assert summary["loss"] == 1.0


def test_a_collapse_stops_a_strict_run(tmp_path):
    with pytest.raises(
        UserError, match=r"out: collapsed at update 40 \(constant outputs, .* \(train.strict is"
    ):
        train(tmp_path / "a", Constant(), epochs=20, strict=True)


def test_progress_is_some_twenty_plain_lines_where_there_is_no_terminal(capsys):
    progress = Progress(1000, 0, "name")
    for update in range(10, 1001, 10):
        progress.at(update, 0.5, {"output_spread": 0.9, "output_information": 2.0})
    progress.close()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 20 and lines[-1].startswith("update 1000/1000  loss 0.5000  spread 0.90")
    assert lines[-1].endswith(" s left") and "\r" not in "".join(lines)
    Progress(1000, 0, "name", quiet=True).at(1000, 0.5, {})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("stopped", [3, 30])
def test_a_run_stopped_between_two_looks_goes_on_to_the_same_end(tmp_path, stopped):
    def at(step):
        if step == stopped:
            os.kill(os.getpid(), signal.SIGTERM)
        return 0.0

    settings = {"epochs": 12, "checkpoint_minutes": 60}
    whole = train(tmp_path / "whole", **settings)
    with pytest.raises(
        Stopped, match=f"stopped by SIGTERM: .*out: update {stopped + 1} of 72 done"
    ):
        train(tmp_path / "cut", Toy(at), **settings)
    resumed = train(tmp_path / "cut", **settings)
    assert torch.equal(whole[0], resumed[0]) and whole[1] == resumed[1]
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in run[2]]
            for run in (whole, resumed)]  # fmt: skip
    assert rows[0] == rows[1]


def test_a_signal_saves_no_loss_that_is_no_number(tmp_path):
    def at(step):
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return math.nan if step == 3 else 0.0

    with pytest.raises(UserError, match="found loss nan at update 4"):
        train(tmp_path / "cut", Toy(at), epochs=12)
    assert not (tmp_path / "cut" / CHECKPOINT).exists()


def test_a_signal_to_all_leaves_the_workers_to_finish(tmp_path):
    files = [tmp_path / f"{k}.png" for k in range(96)]
    for file, image in zip(files, PIXELS):
        Image.fromarray(image.transpose(1, 2, 0)).save(file)

    def at(step):
        if step == 3:
            all_of_it = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
            subprocess.run(["kill", "-TERM", *map(str, all_of_it)], check=True)  # not by a parent
            time.sleep(0.5)
        return 0.0

    with pytest.raises(Stopped, match="update 4 of"):
        train(tmp_path / "a", Toy(at), load=loader(split=Split(IMAGES.labels, files=files), workers=1),
              epochs=2)  # fmt: skip
