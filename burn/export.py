"""The last step before a device: the network a method has left, in files that other programs run.

It is written small (burn.deploy.packed), as a graph for OpenVINO (burn.deploy.ir) and as C for a device
(burn.deploy.c), and each is read back and held against the trained network on test images.
"""

import importlib.util
from pathlib import Path
from typing import Any

from burn.artifacts import artifact, read_json
from burn.experiment.schema import Machine
from burn.networks import stages
from burn.places import GRAPH, GRAPH_INT8, IN_C, METRICS, PACKED, QONNX, RUNTIMES, TEACHER, WEIGHTS

BANK, QUERIES = 4000, 2000  # at most: training images that vote, test images that are asked
K, TEMPERATURE = 20, 0.1  # of the vote
NEEDED = ("openvino", "onnx")  # for the graphs
APART = 1e-3  # features further apart than this share of the largest one: a sign was another


def export(settings: dict[str, Any], networks: Path, data: Path | None, out: Path,
           machine: Machine) -> None:  # fmt: skip
    """Write the artifact folder `out` of the last trained network under `networks`.

    network.safetensors is what burn.load reads. runtimes/ holds network.xml and .bin, for images of
    `settings["size"]` pixels: a graph of binary convolutions where weights are binary, else of floats; of
    a floating-point network network-int8.xml and .bin, too. Without OpenVINO there is none, and a line
    says so. runtimes/c/ is a binary network in C; without a C compiler it was not tried, and a line
    says so.

    metrics.json has for each format its `bytes`, the `bits` of a weight and, measured on the images
    of `data` (the folder that prepare made; without it nothing is compared), the largest `difference`
    of a feature, in percent of the largest feature; the share of images `apart` (a sign was another)
    and the `agreement` of a k-NN vote with that of the trained network, in percent of the test
    images.
    """
    stage, (folder, facts) = list(stages.trained(networks).items())[-1]
    inputs = [folder / METRICS, folder / WEIGHTS, *([data / METRICS] if data else [])]
    with artifact(out, "export", settings, inputs) as work:
        from burn.deploy import packed
        from burn.machine import setup
        from burn.networks import build

        setup(machine)
        network, precision = build.load(folder), facts["precision"]
        images = Images(data, settings["size"], machine.workers) if data else None
        known, ranges = images.seen_by(network) if images else (None, None)
        packed.save(network, precision, work.path(PACKED))
        bits = 1 if precision == "binary" else 32
        made = {"packed": (bits, [PACKED], packed.load(work.path(PACKED)))}
        work.path(RUNTIMES).mkdir(exist_ok=True)
        absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
        if absent:
            print(f"{out}: {' and '.join(absent)} not installed, so its graphs are missing; "
                  "to have them: pip install '.[export]'")  # fmt: skip
        else:
            made |= graphs(network, settings["size"], bits, ranges, work.dir, machine.threads)
        formats, source = {}, in_c(network, settings["size"], work.path(RUNTIMES) / IN_C, out)
        if source:
            formats["c"], compiled = source
            made["c"] = 1, [], compiled
        if precision == "binact":
            print(
                f"{out}: weights of a network of stage binact are real: they are written as floats"
            )
        work.metrics = {key: facts[key] for key in ("network", "precision", "seed")}
        work.metrics |= {"method": facts.get("method", TEACHER), "stage": stage}
        work.metrics["pixels"] = settings["size"]
        for name, (own, files, exported) in made.items():
            taken = sum(work.path(file).stat().st_size for file in files)
            formats[name] = {"bits": own, "bytes": taken} | formats.get(name, {})
            if images and exported:
                formats[name] |= images.compare(known, images.seen_by(exported)[0])
        work.metrics["formats"] = formats
        if images:
            work.metrics |= {"dataset": images.name, "images": len(images.test)}
        print(f"{out}: {formats}")


def graphs(network, size: int, bits: int, ranges: dict | None, folder: Path, threads: int) -> dict:
    """Write the graphs of `network` into `folder`; name -> bits, files, the graph read back."""
    from openvino import save_model

    from burn.deploy import ir, runtime
    from burn.networks.resnet import ResNet

    wanted = {"openvino": (bits, GRAPH, None)}
    if isinstance(network, ResNet) and ranges:
        wanted["openvino-int8"] = 8, GRAPH_INT8, ranges
    out = {} if bits != 1 else qonnx(network, size, folder, threads)
    for name, (own, file, known) in wanted.items():
        files = [f"{RUNTIMES}/{file}", f"{RUNTIMES}/{Path(file).with_suffix('.bin')}"]
        path = folder / files[0]
        save_model(ir.model(network, size, own, known), path, compress_to_fp16=False)
        out[name] = own, files, runtime.Compiled(runtime.read(path), threads)
    return out


def in_c(network, size: int, folder: Path, out: Path) -> tuple[dict[str, Any], Any] | None:
    """Write `network` in C into `folder`: what metrics.json says of it, and what it computes (None
    without a compiler). None of a network that cannot be written so, and a line says why."""
    from burn.deploy.c import compiled
    from burn.deploy.c.write import unfit, write

    why = unfit(network)
    if why:
        print(f"{out}: no C: {why}")
        return None
    told = write(network, size, folder)
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
    """Some training and test images of a data set, spread over it, as the network sees them."""

    def __init__(self, data: Path, size: int, workers: int):
        import torch

        from burn.evaluation.features import part
        from burn.images.store import open_data

        def spread(split, most):
            rows = torch.linspace(0, len(split) - 1, min(most, len(split))).round().long()
            return part(split, rows)

        opened = open_data(data)
        self.name, self.size, self.workers = read_json(data / METRICS)["dataset"], size, workers
        self.train = spread(opened.split("train"), BANK)
        self.test = spread(opened.split("test"), QUERIES)

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
        if self.train.labels.dim() == 1:
            k = min(K, len(self.train))
            votes = [
                knn(bank, self.train.labels, query, [k], TEMPERATURE)[k]
                for bank, query in (trained, exported)
            ]
            out["agreement"] = 100 * float((votes[0] == votes[1]).float().mean())
        return {key: float(f"{value:.4g}") for key, value in out.items()}
