"""Where the time of a finished Snakemake run went: the steps' own work, importing, waiting.

    PYTHONPROFILEIMPORTTIME=1 snakemake --cores 2 all 2>run.log      # imports are timed in the steps' logs
    python benchmarks/overhead.py results/default --cores 2

Prints a line per rule: its nodes, the seconds they took, and how much of that Python spent importing
(of node and run). The last line is of the whole run: what its cores did not spend in a node is waiting.
"""

import argparse
import base64
import json
import re
from collections import defaultdict
from pathlib import Path

LINE = re.compile(r"^import time:\s+(\d+) \|", re.MULTILINE)  # microseconds of the module itself


def jobs(run: Path) -> dict[tuple, tuple[str, float, float, Path]]:
    """(rule, log) -> rule, start, end, log of each node whose outputs lie in `run`."""
    found = {}
    for file in Path(".snakemake/metadata").rglob("*"):
        if not file.is_file():
            continue
        output = base64.b64decode(file.relative_to(".snakemake/metadata").as_posix()).decode()
        record = json.loads(file.read_text())
        if Path(output).is_relative_to(run) and record["log"]:
            log = Path(record["log"][0])
            found[record["rule"], log] = (
                record["rule"],
                record["starttime"],
                record["endtime"],
                log,
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--cores", type=int, required=True)
    args = parser.parse_args()
    found = list(jobs(args.run).values())
    if not found:
        raise SystemExit(
            f"{args.run}: found no node in .snakemake/metadata; expected a finished run"
        )
    rules = defaultdict(lambda: [0, 0.0, 0.0])
    for rule, start, end, log in found:
        importing = sum(map(int, LINE.findall(log.read_text()))) / 1e6
        for key in (rule, "all"):
            rules[key][0] += 1
            rules[key][1] += end - start
            rules[key][2] += importing
    wall = max(end for _, _, end, _ in found) - min(start for _, start, _, _ in found)
    print("| rule | nodes | seconds | importing | of them |")
    print("| :-- | --: | --: | --: | --: |")
    for rule, (nodes, seconds, importing) in sorted(rules.items(), key=lambda r: r[1][1]):
        share = importing / seconds
        print(f"| {rule} | {nodes} | {seconds:.0f} | {importing:.0f} | {100 * share:.0f} % |")
    spent, total = rules["all"][1], args.cores * wall
    print(
        f"\n{wall / 60:.1f} minutes on {args.cores} cores: {100 * (spent - rules['all'][2]) / total:.0f} % in "
        f"the steps' own work, {100 * rules['all'][2] / total:.0f} % importing, "
        f"{100 * (1 - spent / total):.0f} % waiting for a node"
    )


if __name__ == "__main__":
    main()
