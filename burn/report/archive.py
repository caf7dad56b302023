"""What a report is made from, in one file: of every step its numbers, its provenance, its curve and its
predictions, without weights and data.

The file belongs to a run that was published (burn.report.publish). `opened` reads it as if it were the
folder of the run, so that reports and comparisons need not know the difference.
"""

import lzma
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from burn import places
from burn.errors import UserError
from burn.experiment.reading import read_yaml
from burn.experiment.schema import Methods, Protocol, Report
from burn.places import ASKED, CURVE, LOG, METRICS, PREDICTIONS, PROTOCOL, PROVENANCE, STEPS
from burn.report.collect import evaluations, exports
from burn.report.provenance import trainings

KEPT = (METRICS, PROVENANCE, LOG, CURVE, PROTOCOL, PREDICTIONS)  # of a step's folder
WANTED = "expected a run with a report: results/<run> or results/published/<run>"


def is_published(run: Path) -> bool:
    """Whether the folder `run` holds an archive, as `publish` leaves it."""
    return (run / STEPS).is_file()


def find(run: str | Path) -> Path:
    """The folder of a run that is named, or given as a folder. Raises UserError if it has no report."""
    tried = [Path("results") / run, Path("results/published") / run, Path(run)]
    for folder in tried:
        if is_published(folder) or record(folder).is_file():
            return folder
    raise UserError(f"{run}: found no report in {', '.join(map(str, tried))}; {WANTED}")


def record(run: Path) -> Path:
    """The file that says what the report of `run` was asked for."""
    return run / "report" / ASKED


def asked(run: Path) -> dict[str, Any]:
    """What the report of an opened run has read of params.yaml: the run as it was last asked for.

    The same as burn.experiment.reads.settings(params, "report"). Raises UserError if there is no report.
    """
    read = read_yaml(record(run), WANTED)
    protocols = {name: Protocol.model_validate(said) for name, said in read["protocols"].items()}
    sections = {"methods": Methods, "report": Report}
    read |= {name: kind.model_validate(read[name]) for name, kind in sections.items()}
    return read | {"protocols": protocols}


@contextmanager
def opened(run: Path) -> Iterator[Path]:
    """The folder to read the steps of `run` from: `run` itself or, if it is published, a temporary
    folder with what its archive holds. An error that names a file there names the archive instead."""
    if not is_published(run):
        yield run
        return
    archive = run / STEPS
    with TemporaryDirectory(prefix="burn-") as temporary:
        folder = Path(temporary) / run.name
        _unpack(archive, folder)
        try:
            yield folder
        except UserError as error:
            raise UserError(str(error).replace(f"{folder}/", f"{archive}: ")) from error


def pack(settings: dict[str, Any], run: Path, archive: Path) -> None:
    """Write what the report of the opened `run` is made from into the file `archive`.

    Steps that `settings` does not ask for are left out, though they may lie in `run`. The same files
    give the same bytes. Raises UserError if a step has left no numbers.
    """
    kept = [folder / name for folder in steps(settings, run) for name in KEPT]
    kept += [record(run), record(run).with_name(PROVENANCE), places.latency(run)]
    kept = [path for path in kept if path.is_file()]
    with tarfile.open(archive, "w:xz", preset=6 | lzma.PRESET_EXTREME) as file:
        for path in sorted(set(kept)):
            file.add(path, path.relative_to(run).as_posix(), filter=_anonymous)


def steps(settings: dict[str, Any], run: Path) -> Iterable[Path]:
    """The folders of all steps behind a report, and of the report no one."""
    protocols = settings["protocols"]
    sets = {protocol.dataset for protocol in protocols.values()} | {settings["pretrain_on"]}
    yield from (places.dataset(run, name) for name in sets)
    yield from trainings(settings, run).values()
    yield from (places.protocol(run, name) for name in protocols)
    yield from evaluations(settings, run).values()
    yield from exports(settings, run)
    yield places.cost(run)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without what two machines do not agree on: owner, rights, date."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive, "r:xz") as file:
            file.extractall(folder, filter="data")
    except (tarfile.TarError, lzma.LZMAError, EOFError):
        raise UserError(
            f"{archive}: found a broken or foreign file; expected one that `python -m burn publish` wrote"
        ) from None
