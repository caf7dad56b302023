"""The DAG three times over: as the contract says it, as Snakemake and as DVC resolve it.

A node is known by its folder (or file) under results/<run>/: `pretrain/burn/seed0/real`.
"""

import contextlib
import io
import json
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from burn.experiment.reading import load, parse
from burn.experiment.reads import READS, plain, settings, text
from burn.experiment.schema import STAGES, Params
from burn.steps import SUFFIXES

ROOT = Path(__file__).parent.parent
LISTING = "listing"  # a stage of DVC alone
COPIED = ("burn", "workflow", "presets", "params.yaml", "dvc.yaml", ".dvcignore", ".gitignore")


@dataclass(frozen=True)
class Node:
    """`command` has one space between words; `settings` is canonical JSON by short name; `files`: the
    data set on whose files it depends, by their names, sizes and times."""

    rule: str
    command: str
    inputs: frozenset[str]
    outputs: frozenset[str]
    parents: frozenset[str]
    settings: str
    files: str | None = None


def copy(folder: Path, raw: dict | None = None) -> Path:
    """A copy of this repository, under Git, with another params.yaml if `raw` is given."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            skip = shutil.ignore_patterns("__pycache__", ".*_cache")
            shutil.copytree(source, folder / name, ignore=skip)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
    (folder / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy(ROOT / ".dvc" / name, folder / ".dvc" / name)
    if raw is not None:
        write_params(folder, raw)
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    return folder


def write_params(folder: Path, raw: dict) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))


def effective(raw: dict) -> dict:
    """The whole of an experiment, entries removed by an overlay left out."""
    return plain(parse(raw))


def snakemake(folder: Path, config: dict | None = None, overlay: Path | None = None):
    """Snakemake's graph of `folder`, {name: Node}, and the names it would run now."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import (
        ConfigSettings,
        DAGSettings,
        OutputSettings,
        Quietness,
        ResourceSettings,
    )

    profile = yaml.safe_load((folder / "workflow/profiles/default/config.yaml").read_text())
    settings = ConfigSettings(config=config or {}, configfiles=[overlay] if overlay else [])
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            ResourceSettings(cores=2),
            settings,
            snakefile=folder / "workflow" / "Snakefile",
            workdir=folder,
        )
        limit = profile["max-checksum-file-size"]
        dag = workflow.dag(DAGSettings(targets={"all"}, max_checksum_file_size=limit))
        with contextlib.redirect_stdout(io.StringIO()):
            dag.printrulegraph()  # builds the DAG and runs nothing
        dag = workflow._workflow.dag
        jobs = [job for job in dag.jobs if job.rule.name != "all"]
        nodes, planned = {}, set()
        for job in jobs:
            command = job.shellcmd.removesuffix(f" > {job.log[0]} 2>&1")
            name = name_of(job.output)
            assert name not in nodes, f"two jobs make {name}"
            nodes[name] = Node(
                rule=job.rule.name,
                command=" ".join(command.split()),
                inputs=frozenset(job.input),
                outputs=frozenset(job.output),
                parents=frozenset(name_of(parent.output) for parent in dag.dependencies[job]),
                settings=job.params.get("settings", "{}"),
                files=job.wildcards.dataset if "files" in job.params.keys() else None,
            )
            if dag.needrun(job):
                planned.add(name)
    return nodes, planned


def dvc(folder: Path) -> dict[str, Node]:
    """DVC's graph of `folder`; a folder among the inputs is expanded to what lies in it."""
    from dvc.dependency import ParamsDependency
    from dvc.repo import Repo

    params = load(folder / "params.yaml")
    looked = f"results/{params.run}/listing/metrics.json"
    with Repo(str(folder)) as repo:

        def path(entry) -> str:
            return Path(entry.fs_path).relative_to(folder).as_posix()

        # Snakemake looks at the data sets' folders itself (a `params` of prepare).
        (listing,) = (stage for stage in repo.index.stages if stage.name == LISTING)
        assert listing.always_changed and path(listing.outs[0]) == looked
        stages = [stage for stage in repo.index.stages if stage is not listing]
        outputs = {stage: frozenset(map(path, stage.outs)) for stage in stages}
        every = frozenset().union(*outputs.values())
        nodes = {}
        for stage in stages:
            read = {path(d): d.params for d in stage.deps if isinstance(d, ParamsDependency)}
            of_files = read.pop(looked, None)
            keys = [key for keys in read.values() for key in keys]
            files = {path(d) for d in stage.deps if not isinstance(d, ParamsDependency)}
            rule = stage.name.partition("@")[0]
            inputs = {f for file in files for f in expand(file, every, rule)}
            name = name_of(outputs[stage])
            assert name not in nodes, f"two stages make {name}"
            parents = set(repo.index.graph[stage])
            assert (listing in parents) == (of_files is not None)
            nodes[name] = Node(
                rule=rule,
                command=" ".join(stage.cmd.split()),
                inputs=frozenset(inputs),
                outputs=outputs[stage],
                parents=frozenset(name_of(outputs[s]) for s in parents - {listing}),
                settings=dvc_settings(params, stage.cmd, keys),
                files=of_files and of_files[0],
            )
    return nodes


def dvc_status(folder: Path) -> set[str]:
    """The nodes DVC finds changed themselves; it finds out about later ones as it runs."""
    from dvc.repo import Repo

    with Repo(str(folder)) as repo:
        names = {
            stage.addressing: name_of(
                [Path(out.fs_path).relative_to(folder).as_posix() for out in stage.outs]
            )
            for stage in repo.index.stages
        }
        return {names[address] for address in repo.status()} - {LISTING}  # looked at each time


# The file of each network that these steps read; DVC can only name the folder of them all.
OF_EVERY_NETWORK = {
    "report": {"teacher": "curve.csv", "pretrain": "curve.csv", "export": "metrics.json"},
    "cost": {"teacher": "metrics.json", "pretrain": "metrics.json"},
}


def expand(file: str, outputs: frozenset[str], rule: str) -> set[str]:
    """The files that a folder among DVC's dependencies stands for."""
    if (ROOT / file).is_dir() and file.startswith("burn/"):
        below = (f for f in (ROOT / file).rglob("*") if f.name.endswith(SUFFIXES))
        return {f.relative_to(ROOT).as_posix() for f in below}
    within = {out for out in outputs if out.startswith(file + "/")}
    only = OF_EVERY_NETWORK.get(rule, {}).get(Path(file).name, "")
    return {out for out in within if out.endswith(only)} or {file}


def dvc_settings(params: Params, command: str, keys: list[str]) -> str:
    """The values at `keys`, by the short names that burn.experiment.reads.READS gives them."""
    if not keys:
        return "{}"
    step, *words = shlex.split(command)[3:]
    names = dict(zip((w.lstrip("-") for w in words[::2]), words[1::2], strict=True))
    if step == "pretrain":
        names["family"] = "distilled" if "teacher" in names else "standalone"
    if step == "protocol":
        names["task"] = params.protocols[names["protocol"]].task
    short = {key.format(**names): short for short, key in READS[step].items()}
    return text({short.get(key, key): value_at(plain(params), key) for key in keys})


def value_at(raw: dict, key: str):
    for part in key.split("."):
        raw = raw[part]
    return raw


def name_of(outputs) -> str:
    """results/default/teacher/seed0/metrics.json, … -> teacher/seed0"""
    metrics = [out for out in outputs if out.endswith("metrics.json")]
    out = Path(min(metrics or outputs))
    name = Path(*out.parts[2:])
    return name.as_posix() if name.parts[0] == "methods" else name.parent.as_posix()


def contract(params: Params) -> dict[str, tuple[str, set[str]]]:
    """The graph as the paper has it: per node its settings (canonical JSON) and its parents."""
    data = f"data/{params.pretrain_on}"
    nodes = {}
    for name in params.data.sets:
        nodes[f"data/{name}"] = text(settings(params, "prepare", dataset=name)), set()
    for name, protocol in params.protocols.items():
        read = text(settings(params, "protocol", protocol=name))
        nodes[f"protocols/{name}"] = read, {f"data/{protocol.dataset}"}
    families = {"standalone": params.methods.standalone, "distilled": params.methods.distilled}
    examined, trained = {"cost"}, set()
    for methods in families.values():
        for name, method in methods.items():
            nodes[f"methods/{name}.py"] = json.dumps(method.file), set()
    for seed in params.seeds:
        teacher = f"teacher/seed{seed}"
        nodes[teacher] = text(settings(params, "teacher")), {data}
        networks = {"teacher": {teacher}}
        for family, methods in families.items():
            for name in methods:
                needs = {data, f"methods/{name}.py"}
                if family == "distilled":
                    needs.add(teacher)
                stages = {f"pretrain/{name}/seed{seed}/{stage}": stage for stage in STAGES}
                for node, stage in stages.items():
                    read = text(settings(params, "pretrain", method=name, stage=stage))
                    nodes[node] = read, needs
                    needs = {*needs, node} - (set(stages) - {node})
                networks[name] = set(stages)
        trained |= set().union(*networks.values())
        for name, made in networks.items():
            node = f"export/{name}/seed{seed}"
            nodes[node] = text(settings(params, "export")), {data} | made
            examined.add(node)
        for protocol in params.protocols:
            for name, made in networks.items():
                node = f"eval/{protocol}/{name}/seed{seed}"
                nodes[node] = text(settings(params, "evaluate")), {f"protocols/{protocol}"} | made
                examined.add(node)
    nodes["cost"] = text(settings(params, "cost")), trained
    nodes["report"] = text(settings(params, "report")), examined | trained
    return nodes


def downstream(nodes: dict[str, tuple[str, set[str]]], changed: set[str]) -> set[str]:
    """`changed` and all that is made from it."""
    reached = set(changed)
    while more := {n for n, (_, parents) in nodes.items() if parents & reached} - reached:
        reached |= more
    return reached
