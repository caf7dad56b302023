"""What the slow tests share: the smoke experiment, run once by each engine."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cli
import graphs
import pytest
import yaml
from reports import drawn, results  # noqa: F401  fixtures

from burn.experiment.overlay import merge
from burn.experiment.reading import load
from burn.experiment.reads import plain

ENVIRONMENT = {
    **os.environ,
    # The steps are called as `python`: the one that runs these tests.
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONDONTWRITEBYTECODE": "1",
}
COMMANDS = {"snakemake": ["snakemake", "--cores", "2", "all"], "dvc": ["dvc", "repro"]}


def pytest_configure(config):
    if sys.flags.optimize:
        pytest.exit("PYTHONOPTIMIZE takes away what helpers of the tests assert: unset it", 2)
    config.addinivalue_line(
        "markers", "slow: runs the whole smoke experiment, or several processes (minutes)"
    )


def pytest_collection_modifyitems(items):
    """A file's tests share what they make, so one process runs them; those on the smoke experiment
    share its runs. These take longest: they begin."""
    for item in items:
        smoke = "smoke_runs" in item.fixturenames
        item.add_marker(pytest.mark.xdist_group("smoke" if smoke else item.path.stem))
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def _alone_and_seeded(request):
    """Each test computes on one thread, and draws from the same seed; OpenVINO is left to processes of
    its own (tests/openvino): in one where torch has trained it ends a later test by SIGSEGV."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
        torch.manual_seed(0)
    alone = "openvino" in sys.modules or request.path.parent.name == "openvino"
    yield
    assert alone or "openvino" not in sys.modules


@pytest.fixture(scope="session")
def ground(tmp_path_factory) -> SimpleNamespace:
    """Folders of a tiny experiment: params.yaml, data, and a teacher trained without interruption."""
    folder = tmp_path_factory.mktemp("ground")
    made = SimpleNamespace(
        params=cli.write(folder), data=folder / "data", teacher=folder / "teacher"
    )
    words = ["prepare", "--params", made.params, "--dataset", "imagenet", "--out", made.data]
    assert cli.call(*words) == 0
    assert cli.call(*cli.teacher(made, made.teacher)) == 0
    return made


@pytest.fixture(scope="session")
def nets() -> dict:
    """Networks as released, random."""
    import released

    return released.random_networks()


@pytest.fixture(scope="session")
def file(nets, tmp_path_factory):
    """A function: (kind of file, whether its keys begin with `module.`) -> the file, not to be altered."""
    import released

    root = tmp_path_factory.mktemp("released")

    def file(kind: str, module: bool = True) -> Path:
        folder = root / f"{kind}-{module}"
        if not folder.exists():
            folder.mkdir()
            released.save(folder, released.held(nets, kind, module))
        return folder / "file.pth"

    return file


@pytest.fixture(scope="session")
def smoke_params() -> dict:
    """params.yaml with presets/smoke.yaml on it, in full."""
    overlay = yaml.safe_load((graphs.ROOT / "presets" / "smoke.yaml").read_text())
    return graphs.effective(merge(plain(load(graphs.ROOT / "params.yaml")), overlay))


@pytest.fixture(scope="session")
def smoke_runs(smoke_params, tmp_path_factory) -> SimpleNamespace:
    """Two copies of the repository, `.snakemake` and `.dvc`, the experiment run in each.

    Tests may edit files there as long as they put them back.
    """
    runs = {}
    for engine, command in COMMANDS.items():
        folder = graphs.copy(tmp_path_factory.mktemp("run") / engine, smoke_params)
        log = open(folder.parent / "log", "w+")
        process = subprocess.Popen(
            command, cwd=folder, env=ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT
        )
        runs[engine] = folder, process, log
    for _, process, log in runs.values():
        if process.wait():
            log.seek(0)
            pytest.fail(f"{' '.join(process.args)}:\n{log.read()[-5000:]}")
    return SimpleNamespace(**{engine: folder for engine, (folder, _, _) in runs.items()})
