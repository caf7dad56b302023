"""The last step before a device: the network a method has left, in files that other programs run.

It is written small (burn.deploy.packed), as a graph for OpenVINO (burn.deploy.ir) and as C for a device
(burn.deploy.c), and each is read back and held against the trained network on test images.
"""

import importlib.util
from pathlib import Path
from typing import Any

from burn.artifacts import Work, artifact, read_json
from burn.errors import UserError
from burn.experiment.schema import Machine
from burn.networks import stages
from burn.places import GRAPH, GRAPH_INT8, IN_C, METRICS, PACKED, QONNX, RUNTIMES, TEACHER, WEIGHTS

BANK, QUERIES = 4000, 2000  # at most: training images that vote, test images that are asked
K, TEMPERATURE = 20, 0.1  # of the vote
NEEDED = ("openvino", "onnx")  # for the graphs
APART = 1e-3  # features further apart than this share of the largest one: a sign was another


def export(settings: dict[str, Any], networks: Path, data: Path | None, out: Path, machine: Machine,
           evaluation: Path | None = None, only: str | None = None) -> None:  # fmt: skip
    """Write the artifact folder `out` of the last trained network under `networks`.

    network.safetensors is what burn.load reads. runtimes/ holds network.xml and .bin, for images of
    `settings["size"]` pixels: a graph of binary convolutions where weights are binary, else of floats; of
    a floating-point network network-int8.xml and .bin, too. Without OpenVINO there is none, and a line
    says so. runtimes/c/ is a binary network in C; without a C compiler it was not tried, and a line
    says so.

    metrics.json has for each format its `bytes`, the `bits` of a weight and, measured on the images
    of `data` (the folder that prepare made; without it nothing is compared), the largest `difference`
    of a feature, in percent of the largest feature; the share of images `apart` (a sign was another)
    and, where there are labels, the `agreement` of a k-NN vote with that of the trained network, in
    percent of the test images. Of C, `bytes` are the constants in a device's memory, `ram` what it needs besides.

    Args:
        evaluation: a linear evaluation of the network. Its classifier becomes the last layer in
            network.xml and in C, which are then compared on its test images: `top1`, in percent, and
            the `agreement` of the best class.
        only: "c": nothing but C. Raises UserError if the network cannot be written so.
    """
    if evaluation and data:
        raise UserError(
            f"--data: found {data}; allowed: none beside --classifier, which has its own"
        )
    stage, (folder, facts) = list(stages.trained(networks).items())[-1]
    inputs = [folder / METRICS, folder / WEIGHTS, *([data / METRICS] if data else [])]
    inputs += [evaluation / METRICS] if evaluation else []
    with artifact(out, "export", settings, inputs) as work:
        from burn.deploy import classifier
        from burn.machine import setup
        from burn.networks import build

        setup(machine)
        network, precision = build.load(folder), facts["precision"]
        if only:
            refuse(network, folder)
        last, size = None, settings["size"]
        if evaluation:
            last = classifier.trained(evaluation, network, stage, facts, machine.workers)
            data, size = last.data, last.size
        images = Images(data, size, machine.workers, whole=last is not None) if data else None
        known, ranges = images.seen_by(network) if images else (None, None)
        made, formats = written(network, precision, size, ranges, work, machine.threads, last, only)
        if precision == "binact":
            print(
                f"{out}: weights of a network of stage binact are real: they are written as floats"
            )
        work.metrics = {key: facts[key] for key in ("network", "precision", "seed")}
        work.metrics |= {"method": facts.get("method", TEACHER), "stage": stage, "pixels": size}
        if last:
            known = tuple(map(last.scores, known))
            work.metrics["classifier"] = {"protocol": last.protocol, "top1": last.top1,
                                          "classes": len(last.names)}  # fmt: skip
        for name, (own, files, exported) in made.items():
            taken = sum(work.path(file).stat().st_size for file in files)
            formats[name] = {"bits": own, "bytes": taken} | formats.get(name, {})
            if images and exported:
                formats[name] |= images.compare(known, images.seen_by(exported)[0])
        work.metrics["formats"] = formats
        if images:
            work.metrics |= {"dataset": images.name, "images": len(images.test)}
        print(f"{out}: {formats}")


def written(network, precision: str, size: int, ranges: dict | None, work: Work, threads: int,
            last, only: str | None) -> tuple[dict, dict]:  # fmt: skip
    """Write all formats of `network`: name -> bits, files, what it computes (None: not to be compared),
    and name -> what metrics.json says of it besides."""
    from burn.deploy import packed

    packed.save(network, precision, work.path(PACKED))
    work.path(RUNTIMES).mkdir(exist_ok=True)
    bits = 1 if precision == "binary" else 32
    made = {"packed": (bits, [PACKED], None if last else packed.load(work.path(PACKED)))}
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if absent and not only:
        print(f"{work.out}: {' and '.join(absent)} not installed, so its graphs are missing; "
              "to have them: pip install '.[export]'")  # fmt: skip
    elif not only:
        made |= graphs(network, size, bits, ranges, work.dir, threads, last)
    source = in_c(network, size, work.path(RUNTIMES) / IN_C, work.out, last)
    if source:
        made["c"] = 1, [], source[1]
    return made, {"c": source[0]} if source else {}


def refuse(network, folder: Path) -> None:
    """Raise UserError, one line, if `network` of `folder` cannot be written in C."""
    from burn.deploy.c.write import unfit

    why = unfit(network)
    if why:
        raise UserError(f"{folder / METRICS}: {why}")


def graphs(network, size: int, bits: int, ranges: dict | None, folder: Path, threads: int,
           last=None) -> dict:  # fmt: skip
    """Write the graphs of `network` into `folder`, with the classifier `last` if there is one; name ->
    bits, files, the graph read back."""
    from openvino import save_model

    from burn.deploy import ir, runtime
    from burn.networks.resnet import ResNet

    wanted = {"openvino": (bits, GRAPH, None)}
    if isinstance(network, ResNet) and ranges:
        wanted["openvino-int8"] = 8, GRAPH_INT8, ranges
    out = {} if bits != 1 or last else qonnx(network, size, folder, threads)
    for name, (own, file, known) in wanted.items():
        files = [f"{RUNTIMES}/{file}", f"{RUNTIMES}/{Path(file).with_suffix('.bin')}"]
        path = folder / files[0]
        save_model(ir.model(network, size, own, known, last), path, compress_to_fp16=False)
        out[name] = own, files, runtime.Compiled(runtime.read(path), threads)
    return out


def in_c(network, size: int, folder: Path, out: Path, last=None) -> tuple[dict, Any] | None:
    """Write `network` in C into `folder`, with the classifier `last` if there is one: what metrics.json
    says of it, and what it computes (None without a compiler). None of a network that cannot be written
    so, and a line says why."""
    from burn.deploy.c import compiled
    from burn.deploy.c.write import unfit, write

    why = unfit(network)
    if why:
        print(f"{out}: no C: {why}")
        return None
    told = write(network, size, folder, last and (last.weight, last.bias, last.names))
    facts, command = {"bytes": told.flash, "ram": told.ram}, compiled.compiler()
    if command is None:
        print(f"{out}: no C compiler, so {RUNTIMES}/{IN_C} was written and not tried")
        return facts, None
    return facts | {"compiler": compiled.version(command)}, compiled.Compiled(folder)


def qonnx(network, size: int, folder: Path, threads: int) -> dict:
    """Write a binary `network` in QONNX; the same as `graphs` gives. It is read back by OpenVINO, its
    BipolarQuant said in operators that OpenVINO has."""
    import io

    import onnx
    import openvino

    from burn.deploy import qonnx, runtime
    from burn.deploy.fold import fold

    file = f"{RUNTIMES}/{QONNX}"
    onnx.save(qonnx.model(fold(network), network.dim, size), folder / file)
    read = qonnx.plain(onnx.load(folder / file)).SerializeToString()
    model = openvino.Core().read_model(io.BytesIO(read))
    return {"qonnx": (1, [file], runtime.Compiled(model, threads))}


class Images:
    """Some training and test images of a data set, spread over it, as the network sees them.

    Without labels there are none to test on: training images stand for them, and nothing votes.
    """

    def __init__(self, data: Path, size: int, workers: int, whole: bool = False):
        """`whole`: all test images, of which a classifier says the class; else a k-NN vote does."""
        import torch

        from burn.evaluation.features import part
        from burn.images.store import open_data

        def spread(split, most):
            rows = torch.linspace(0, len(split) - 1, min(most, len(split))).round().long()
            return part(split, rows)

        opened = open_data(data)
        self.name, self.size, self.workers = read_json(data / METRICS)["dataset"], size, workers
        self.train, self.voted = spread(opened.split("train"), BANK), not opened.unlabelled
        self.test = opened.split("test" if self.voted else "train")
        self.whole = whole
        if not whole:
            self.test = spread(self.test, QUERIES)

    def seen_by(self, network):
        """Features of the training and of the test images; and if `network` is a module, of what its
        convolutions see of the training images, the least and the largest (burn.deploy.ranges)."""
        import torch

        from burn.deploy.ranges import watched
        from burn.evaluation.features import features

        def of(split):
            return features(network, split, self.size, torch.device("cpu"), self.workers)

        with watched(network) as ranges:
            train = of(self.train)
        return (train, of(self.test)), ranges

    def compare(self, trained, exported) -> dict[str, float]:
        """How what an exported network makes of the images differs from what the trained one did."""
        from burn.evaluation.features import knn

        apart = (exported[1] - trained[1]).abs().amax(1) / trained[1].abs().max()
        out = {"difference": 100 * float(apart.max())}
        out["apart"] = 100 * float((apart > APART).float().mean())
        if self.whole:
            best = [scores.argmax(1) for _, scores in (trained, exported)]
            out["agreement"] = 100 * float((best[0] == best[1]).float().mean())
            out["top1"] = 100 * float((best[1] == self.test.labels).float().mean())
        elif self.voted and self.train.labels.dim() == 1:
            k = min(K, len(self.train))
            votes = [
                knn(bank, self.train.labels, query, [k], TEMPERATURE)[k]
                for bank, query in (trained, exported)
            ]
            out["agreement"] = 100 * float((votes[0] == votes[1]).float().mean())
        return {key: float(f"{value:.4g}") for key, value in out.items()}
