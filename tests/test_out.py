"""`--out` replaces an artifact of the same step, or nothing; never what else stands there."""

import json
import os

import pytest

from burn import artifacts
from burn.errors import UserError
from burn.places import LOG, METRICS, PROVENANCE, WEIGHTS


def make(out, step="step", inputs=()):
    with artifacts.artifact(out, step, {}, inputs):
        pass


def refused(out, **more) -> str:
    with pytest.raises(UserError) as error:
        make(out, **more)
    assert "\n" not in str(error.value)
    return str(error.value)


def tree(root) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def filled(folder, *names, content="mine"):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(content)
    return folder


def test_a_folder_that_is_no_artifact_is_kept(tmp_path):
    out = filled(tmp_path / "out" / "thesis", "chapter1.tex").parent
    before = tree(tmp_path)
    assert refused(out) == f"--out: found {out}, which holds thesis; expected a new or empty folder, " \
        "or one that this step (step) has made"  # fmt: skip
    assert tree(tmp_path) == before


@pytest.mark.parametrize("names", [(METRICS, "notes.txt"), (WEIGHTS,), (LOG, WEIGHTS, "a.pth")])
def test_names_of_an_artifact_alone_make_none(tmp_path, names):
    out = filled(tmp_path / "out", *names)
    refused(out)
    assert sorted(os.listdir(out)) == sorted(names)


def test_an_artifact_of_another_step_is_kept(tmp_path):
    make(tmp_path / "out", "other")
    assert refused(tmp_path / "out").startswith(
        f"--out: found {tmp_path / 'out'}, which step other has made; expected "
    )
    (tmp_path / "out" / PROVENANCE).write_text("[]")
    refused(tmp_path / "out", step="other")


def test_a_run_is_kept(tmp_path):
    make(tmp_path / "run" / "cost", "cost")
    make(tmp_path / "run" / "report", "report")
    refused(tmp_path / "run", step="report", inputs=[tmp_path / "run" / "cost" / METRICS])
    assert len(tree(tmp_path / "run")) == 6


def test_what_a_step_reads_is_kept(tmp_path):
    out = tmp_path / "out"
    make(out)
    filled(out, "weights.pth")
    message = refused(out, inputs=[out / "weights.pth"])
    assert message == f"--out: found {out}, which {out / 'weights.pth'} lies in; expected a folder apart " \
        "from what the step reads"  # fmt: skip
    assert (out / "weights.pth").exists()
    (tmp_path / "link").symlink_to(out)
    refused(tmp_path / "link", inputs=[out / "weights.pth"])
    refused(out, inputs=[tmp_path / "link" / "weights.pth"])


def test_images_are_kept_wherever_they_lie(tmp_path):
    out = tmp_path / "out"
    make(out, "prepare")
    filled(out / "train", "1.png")
    with (
        pytest.raises(UserError, match="lies in"),
        artifacts.artifact(out, "prepare", {}, kept=[out / "train"]),
    ):
        pass
    assert (out / "train" / "1.png").exists()


@pytest.mark.parametrize("out", [".", "..", "/", "a/..", "../b/.."])
def test_the_folder_one_is_in_is_kept(tmp_path, monkeypatch, out):
    (tmp_path / "b" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "b")
    message = refused(out)
    assert message.startswith(f"--out: found {out}; expected a folder ")
    assert tree(tmp_path) == ["b", "b/a"]


def test_a_file_is_kept(tmp_path):
    path = filled(tmp_path, "out") / "out"
    assert refused(path) == f"--out: found {path}, a file; expected a folder"
    assert path.read_text() == "mine" and os.listdir(tmp_path) == ["out"]
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe")


def test_what_engines_leave_is_replaced(tmp_path):
    """They remove a step's outputs before they run it, or pull them without the provenance."""
    for number, names in enumerate([(), (PROVENANCE, LOG), (METRICS, WEIGHTS, LOG)]):
        out = tmp_path / str(number)
        make(out)
        for name in os.listdir(out):
            if name not in names:
                (out / name).unlink()
        for name in set(names) - {PROVENANCE}:
            filled(out, name)
        make(out)
        assert sorted(os.listdir(out)) == [METRICS, PROVENANCE]
        assert json.loads((out / METRICS).read_text()) == {}
