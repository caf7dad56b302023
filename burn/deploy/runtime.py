"""Running an exported network: a graph as a function of torch tensors, by OpenVINO or ONNX Runtime."""

from pathlib import Path

import numpy as np
import openvino as ov
import torch
from torch import Tensor

from burn.errors import UserError

# f32: a machine with units for bf16 would take them, and signs would flip.
HINTS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}


class Compiled:
    """(N, 3, H, W) float32 -> (N, D), both on the CPU; a graph is compiled once per shape of images.

    Args:
        model: a graph of burn.deploy.ir, or what `read` gives.
        threads: how many compute; 0: as many as OpenVINO likes.
    """

    def __init__(self, model: ov.Model, threads: int = 0):
        self.core, self.model, self.compiled = ov.Core(), model.clone(), {}
        self.hints = HINTS | ({"INFERENCE_NUM_THREADS": threads} if threads else {})

    def __call__(self, images: Tensor) -> Tensor:
        shape = tuple(images.shape)
        if shape not in self.compiled:
            self.model.reshape(list(shape))
            self.compiled[shape] = self.core.compile_model(self.model, "CPU", self.hints)
        out = self.compiled[shape](np.ascontiguousarray(images.numpy()))[0]
        return torch.from_numpy(np.array(out))


class Session:
    """(N, 3, H, W) float32 -> (N, D), both on the CPU, by ONNX Runtime (pip install onnxruntime).

    Args:
        model: a graph in ONNX's own operators (burn.deploy.qonnx.plain), for images of one size.
        threads: how many compute.
    """

    def __init__(self, model, threads: int):
        import onnxruntime

        free = type(model)()
        free.CopyFrom(model)
        for end in (*free.graph.input, *free.graph.output):
            end.type.tensor_type.shape.dim[0].dim_param = "images"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            free.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, images: Tensor) -> Tensor:
        (out,) = self.session.run(None, {"images": images.numpy()})
        return torch.from_numpy(out)


def read(path: Path) -> ov.Model:
    """The graph in an .xml file and the .bin beside it. Raises UserError, one line."""
    for file in (path, path.with_suffix(".bin")):
        if not file.is_file():
            raise UserError(f"{file}: no such file; has export made it?")
    try:
        model = ov.Core().read_model(path)
        if [len(p.partial_shape) for p in model.inputs] != [4]:
            raise RuntimeError("it does not take images")
        return model
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(f"{path}: not a graph that OpenVINO reads: {lines[-1][:200]}") from None
