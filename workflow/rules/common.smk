# What the rule files share: the experiment, checked, and the names they speak of it by. Functions of
# burn are called by their full names: rule files share Snakemake's own globals.
import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(workflow.basedir).parent))
import burn.artifacts
import burn.data.listing
import burn.steps
from burn.errors import UserError
from burn.experiment import overlay, reading
from burn.experiment import reads as what_is_read
from burn.experiment.schema import STAGES
from burn.places import CURVE, METRICS, TEACHER, WEIGHTS


def stop(error):
    print(error, file=sys.stderr)
    sys.exit(2)


def overlaid(config):
    """The configuration Snakemake merged, typed as in YAML, in the order of params.yaml.

    Snakemake leaves the numbers inside --config 'train={lr: 0.1}' as text, and puts what an overlay
    names first.
    """
    given, said = workflow.config_settings, workflow.config_settings.config_args or []
    base = reading.read_yaml("params.yaml")
    if sum(word.split("=")[0] in ("--configfile", "--configfiles") for word in sys.argv) > 1:
        raise UserError("--configfile: found twice; allowed: once, with all files: --configfile A B")
    overlays = {str(file): reading.read_yaml(file) for file in given.configfiles}
    overlay.check(base, overlays, run_said=any(entry.startswith("run=") for entry in said))
    config = overlay.merge(base, config)
    for entry in said:
        key, _, value = entry.partition("=")
        config = overlay.merge(config, {key: reading.loaded(value, f"--config {key}")})
    return config


def write_params(experiment, path):
    """Put an experiment with overrides where its steps read it.

    Nothing Snakemake compares holds this name: an override reruns what reads it, and no more.
    """
    content = yaml.safe_dump(what_is_read.plain(experiment), sort_keys=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    burn.artifacts.write_text(path, content)


try:
    base = reading.load("params.yaml")
except UserError as error:
    stop(error)


configfile: "params.yaml"


try:
    experiment = reading.parse(overlaid(config), "params.yaml with overrides")
except UserError as error:
    stop(error)

RESULTS = f"results/{experiment.run}"
PARAMS = "params.yaml" if experiment == base else f"{RESULTS}/params.yaml"
DATA = f"{RESULTS}/data/{experiment.pretrain_on}"  # of the pretraining
STANDALONE, DISTILLED = experiment.methods.standalone, experiment.methods.distilled
METHODS = {**STANDALONE, **DISTILLED}
LEFT = [WEIGHTS, METRICS, CURVE]  # by a training step
THREADS = experiment.machine.threads


onstart:  # never in a dry run: another run may be reading the file
    try:
        burn.artifacts.hold_run(Path(RESULTS))
    except UserError as error:
        stop(error)
    if experiment != base:
        write_params(experiment, PARAMS)


# bash would die of SIGTERM at once, and a cluster then ends the step before it has saved.
shell.prefix("set -euo pipefail; trap : TERM; ")

# One slot of the profile's `device`, so that two steps on this machine never share the GPUs.
DEVICE = int(
    experiment.machine.device.startswith("cuda")
    or (experiment.machine.device == "auto" and Path("/dev/nvidiactl").exists())
)
# What steps ask of a cluster: GPUs, memory in MB, minutes. On one machine none of it counts.
# `machine.device: cpu` asks for no GPU; processes that decode images take a GB each.
GPUS = 0 if experiment.machine.device == "cpu" else max(1, experiment.machine.gpus)
STREAMED = not experiment.data.sets[experiment.pretrain_on].pack
MEMORY = 4000 + 1000 * experiment.machine.workers * STREAMED
ASKED = {
    "train": {"gpu": GPUS, "mem_mb": MEMORY * max(1, experiment.machine.gpus), "runtime": 1440},
    "evaluate": {"gpu": min(1, GPUS), "mem_mb": MEMORY, "runtime": 60},
}


def one_of(names):
    """A wildcard that is one of `names`; of none, it matches nothing."""
    return "|".join(names) or "(?!)"


pathvars:
    results=RESULTS,


wildcard_constraints:
    dataset=one_of(experiment.data.sets),
    protocol=one_of(experiment.protocols),
    seed=r"\d+",


def reads(step):
    """What `step` reads of the experiment (burn.experiment.reads.READS): the `params` of its rule."""


    def what(wildcards):
        return what_is_read.text(what_is_read.settings(experiment, step, **dict(wildcards.items())))

    return what


def of_every_network(file):
    """`file` of the teacher and of every stage of every method."""
    return expand(f"<results>/teacher/seed{{seed}}/{file}", seed=experiment.seeds) + expand(
        f"<results>/pretrain/{{method}}/seed{{seed}}/{{stage}}/{file}",
        method=METHODS,
        seed=experiment.seeds,
        stage=STAGES,
    )
