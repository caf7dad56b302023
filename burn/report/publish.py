"""Publishing: from the folder of a run, which is work, to a folder that is committed on purpose.

results/published/<run>/ holds what readers want (README.md, report.md, tables/, figures/) and, in one
file, what all of it is made from (burn.report.archive).
"""

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from burn.errors import UserError
from burn.places import PUBLISHED, STEPS
from burn.report import how_it_was_run, report
from burn.report.archive import asked, opened, pack
from burn.report.grid import Grid, to_markdown

README, SHOWN = "README.md", ("report.md", "tables", "figures")
DRAFT = """# The run `{name}`

What it shows: [report.md](report.md).

*Say here how it was made: the command, the data, what was run again and why.*

{made}
"""


def publish(run: Path, root: Path = PUBLISHED) -> Path:
    """Write, or write anew, the folder root/<run> of the run folder `run`; returns it.

    The report is made of what `run` was last asked for, from the archive that is published, so the two
    agree. A README.md that is there already is kept; a new one names commits and machines. `run` may be
    a published run itself: its report is made anew. Raises UserError, and leaves what was there, if
    a step's result is missing or the folder holds files of somebody else.
    """
    out = root / run.resolve().name
    kept = (README, STEPS, *SHOWN)
    odd = (
        sorted(path.name for path in out.iterdir() if path.name not in kept) if out.exists() else []
    )
    if odd:
        raise UserError(
            f"{out}: found {odd[0]}; expected a new folder, or one with {', '.join(kept)}"
        )
    root.mkdir(parents=True, exist_ok=True)
    with opened(run) as folder, TemporaryDirectory(dir=root, prefix=".", suffix=".partial") as work:
        settings, new = asked(folder), Path(work) / "new"
        new.mkdir()
        pack(settings, folder, new / STEPS)
        report(settings, new, Path(work) / "report")
        for name in SHOWN:
            os.replace(Path(work) / "report" / name, new / name)
        if (out / README).exists():
            shutil.copy(out / README, new / README)
        else:
            made = [b for b in how_it_was_run(settings, folder).blocks if isinstance(b, Grid)]
            text = DRAFT.format(name=out.name, made="\n".join(map(to_markdown, made)).rstrip())
            (new / README).write_text(text, encoding="utf-8")
        if out.exists():
            os.replace(out, Path(work) / "old")
        os.replace(new, out)
    return out
