"""`python -m burn STEP ...`: the steps of the pipeline, each a node of the DAG.

Every step takes its inputs as explicit paths and writes one artifact folder, `--out`. Errors are
one line and exit code 2; `--debug` shows the traceback. A step that is stopped by a signal ends with
one line, too, and 143 or, after Ctrl-C, 130.
"""

import sys

if __name__ == "__main__":  # before anything is imported that takes time
    from burn import warm

    if warm.wanted() and (code := warm.run()) is not None:
        sys.exit(code)

import argparse
import os
import traceback

from burn.errors import Stopped, UserError
from burn.experiment.reading import load
from burn.experiment.reads import family_of, settings
from burn.experiment.schema import FORMATS, STAGES
from burn.places import named


def listing(args, p):
    """Note what lies in the folders of the data sets, for DVC, whose step prepare depends on it."""
    from burn.data.listing import write

    write(settings(p, "listing"), args.out)


def prepare(args, p):
    from burn.data.prepare import prepare

    if args.dataset not in p.data.sets:
        raise UserError(f"--dataset: found {args.dataset!r}; allowed: {', '.join(p.data.sets)}")
    prepare(args.dataset, settings(p, "prepare", dataset=args.dataset), args.out)


def teacher(args, p):
    _relaunch(p)
    from burn.teacher import pretrain_teacher

    read = settings(p, "teacher")
    pretrain_teacher(read, args.seed, args.code, args.data, args.out, p.machine)


def pretrain(args, p):
    read = settings(p, "pretrain", method=args.method, stage=args.stage)
    if family_of(p, args.method) == "distilled" and args.teacher is None:
        raise UserError(f"--teacher: missing; {args.method} learns from one")
    if read["epochs"]:
        _relaunch(p)
    from burn.pretrain import pretrain

    pretrain(read, args.method, args.stage, args.seed, args.code, args.data, args.teacher,
             args.init, args.out, p.machine)  # fmt: skip


def protocol(args, p):
    from burn.evaluate import write_protocol

    read = settings(p, "protocol", protocol=args.protocol)
    write_protocol(read, args.protocol, args.code, args.data, args.out)


def evaluate(args, p):
    from burn.evaluate import evaluate

    evaluate(args.protocol, args.networks, args.seed, args.out, p.machine)


def cost(args, p):
    from burn.deploy.cost import cost

    cost(settings(p, "cost"), args.results, args.out)


def export(args, p):
    """Write a trained network as small files for other programs: its last stage, or the teacher."""
    from burn.export import export

    more = args.classifier, args.only
    export(settings(p, "export"), args.networks, args.data, args.out, p.machine, *more)


def latency(args, p):
    """Measure how long the exported networks of a run take, into RESULTS/latency.json, which the next
    report shows. No part of the DAG: two runs never agree."""
    from burn import places
    from burn.latency import exports, latency

    methods = [*p.methods.standalone, *p.methods.distilled, places.TEACHER]
    folders = exports(args.results, methods, p.seeds[0])
    latency(folders, places.latency(args.results), args.seconds)


def report(args, _):
    """Make tables, figures and the page: of results/<run>, or of results/published/<run>, which needs
    no params.yaml."""
    from burn.report import report
    from burn.report.archive import asked, is_published, opened

    if args.params is None and is_published(args.results):
        with opened(args.results) as run:
            read = asked(run)
    else:
        read = settings(load(args.params or "params.yaml"), "report")
    report(read, args.results, args.out)


def publish(args, _):
    """Write what is committed of a run, results/published/RUN: its report, tables and figures, and in one
    file what they are made from."""
    from burn.report.archive import find
    from burn.report.publish import README, publish

    out = publish(find(args.run_folder))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {size / 1e6:.1f} MB. Say in {out / README} how it was made; then: git add {out}")


def compare(args, _):
    """Print, as Markdown, in which parameters and scores two runs differ."""
    from burn.report.archive import find
    from burn.report.compare import compare

    print(compare(find(args.run_a), find(args.run_b)), end="")


def import_checkpoint(args, _):
    """Make an artifact folder of a released checkpoint; it holds an overlay for params.yaml."""
    from burn.released.read import import_checkpoint

    import_checkpoint(args.input, args.format, args.precision, args.out)


def use(args, p):
    """Write an overlay into params.yaml, comments kept: how DVC users take a preset."""
    from burn.experiment.overlay import apply

    apply(args.params, args.overlay)


def take_over(args, _):
    """Let the other engine take what one has finished for done: dvc after Snakemake, or back."""
    from burn import takeover

    {"dvc": takeover.to_dvc, "snakemake": takeover.to_snakemake}[args.engine]()


def _relaunch(p) -> None:
    if p.machine.gpus > 1:
        from burn.machine import relaunch

        relaunch(p.machine)


ARGUMENTS = {
    "dataset": {"help": "name in data.sets"},
    "method": {"help": "name in methods"},
    "stage": {"choices": STAGES},
    "seed": {"type": int},
    "code": {"type": named, "help": "file with the method's or task's code"},
    "data": {"type": named, "help": "folder that prepare made"},
    "teacher": {"type": named, "required": False, "help": "folder that teacher made"},
    "init": {"type": named, "required": False, "help": "folder of the stage before"},
    "networks": {"type": named, "help": "folder of a teacher, or of a method's stages"},
    "classifier": {
        "type": named,
        "required": False,
        "help": "folder of a linear evaluation of this network: its classifier becomes the last layer",
    },
    "only": {
        "choices": ["c"],
        "required": False,
        "help": "no graphs, C alone; a network that C cannot hold is refused",
    },
    "input": {"type": named, "help": "file of BURN, S2-BNN or MoCo v2"},
    "format": {
        "choices": FORMATS,
        "default": "auto",
        "required": False,
        "help": "default: auto, told by its keys",
    },
    "precision": {
        "choices": (*STAGES, "fp"),
        "required": False,
        "help": "binary (default), binact for a file of stage 1 (the file does not say), fp for "
        "the floating-point network of a file that has both",
    },
    "results": {"type": named, "help": "results/<run>; for a report results/published/<run>, too"},
    "seconds": {
        "type": float,
        "default": 5.0,
        "required": False,
        "help": "for each network, setting, batch and number of threads; default: 5",
    },
    "out": {"type": named, "help": "folder to write, whole or not at all"},
}

POSITIONAL = {
    "overlay": "an overlay, such as presets/smoke.yaml",
    "run_folder": "a run's name or folder: results/<run>; or results/published/<run>, to make it anew",
    "run_a": "a run's name or folder: results/<run>, results/published/<run>",
    "run_b": "another one's",
}
STEPS = {
    listing: ("out",),
    prepare: ("dataset", "out"),
    teacher: ("seed", "code", "data", "out"),
    pretrain: ("method", "stage", "seed", "code", "data", "teacher", "init", "out"),
    protocol: ("protocol", "code", "data", "out"),
    evaluate: ("protocol", "networks", "seed", "out"),
    cost: ("results", "out"),
    export: ("networks", "data", "classifier", "only", "out"),
    report: ("results", "out"),
    latency: ("results", "seconds"),
    import_checkpoint: ("input", "format", "precision", "out"),
    use: ("overlay",),
    compare: ("run_a", "run_b"),
    publish: ("run_folder",),
    take_over: ("engine",),
}


def parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").split("\n\n")[0]  # PYTHONOPTIMIZE=2 takes docstrings away
    top = argparse.ArgumentParser(prog="burn", description=about)
    top.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = top.add_subparsers(dest="step", required=True)
    for step, names in STEPS.items():
        sub = commands.add_parser(step.__name__.replace("_", "-"), description=step.__doc__)
        sub.set_defaults(run=step)
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS,
                         help="show tracebacks")  # fmt: skip
        sub.set_defaults(params="params.yaml")
        if step not in (take_over, compare, publish):  # the engines read the one in force
            told = "; of a published run, what it was made with" if step is report else ""
            default = None if step is report else "params.yaml"
            sub.add_argument(
                "--params", type=named, default=default, help=f"default: params.yaml{told}"
            )
        for name in names:
            if name in POSITIONAL:
                sub.add_argument(name, type=named, help=POSITIONAL[name])
                continue
            if name == "engine":
                sub.add_argument(name, choices=("dvc", "snakemake"), help="which takes over")
                continue
            options = {"required": True} | ARGUMENTS.get(name, {})
            if name == "data" and step is export:
                options |= {"required": False, "help": "folder that prepare made; to compare on"}
            if name == "protocol":  # a name when one is written, a folder when it is read
                options["type"] = str if step is protocol else named
            sub.add_argument(f"--{name}", **options)
    return top


def main() -> int:
    args = parser().parse_args()
    if "LOCAL_RANK" not in os.environ:
        return _code(args)
    try:  # one of several processes
        code = _code(args)
    except Exception:
        traceback.print_exc()
        code = 1
    if "torch" in sys.modules:
        from burn.machine import leave

        leave(code)
    return code


def _code(args) -> int:
    """The exit code of the step; what the user can mend is said in one line."""
    try:
        alone = args.run in (import_checkpoint, compare, report, publish)  # may need no experiment
        args.run(args, None if alone else load(args.params))
    except (UserError, OSError) as error:  # OSError: a full disk, a folder nobody may write
        if args.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (Stopped, KeyboardInterrupt) as stopped:
        if args.debug:
            raise
        if os.environ.get("RANK", "0") == "0":
            print(str(stopped) or "stopped by SIGINT", file=sys.stderr)
        return getattr(stopped, "code", 130)
    except RuntimeError as error:
        from burn.machine import LOST, lost_another

        if args.debug or not lost_another(error):
            raise
        print("error: another process of this step has ended", file=sys.stderr)
        return LOST
    return 0


if __name__ == "__main__":
    sys.exit(main())
