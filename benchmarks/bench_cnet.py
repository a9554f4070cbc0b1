"""C-Net's share of the served graph: `python benchmarks/bench_cnet.py [FILE] [--size PX]`.

Times the graph as it is and without the output `confidences`, in turns and by CPU time, so that
whatever else the machine does has little say.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx.utils import Extractor

from facewright.models.assets import WEIGHTS, asset_path

ASSET = asset_path(WEIGHTS)
BATCHES = (1, 8)
TARGET = 0.05
WARM_UP = 3


def session(model: onnx.ModelProto, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def without_confidences(model: onnx.ModelProto) -> onnx.ModelProto:
    return Extractor(model).extract_model(["crops"], ["coefficients"])


def resized(model: onnx.ModelProto, size: int) -> onnx.ModelProto:
    """The same graph for crops of another size; every layer takes any multiple of 32."""
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.dim_value = size
    return model


def main() -> None:
    """Print the share for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=ASSET)
    parser.add_argument("--size", type=int, help="px; by default the file's")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    model = onnx.load(arguments.file)
    if arguments.size is not None:
        model = resized(model, arguments.size)
    size = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    sessions = [session(m, arguments.threads) for m in (model, without_confidences(model))]
    rng = np.random.default_rng(0)
    print(f"{arguments.file.name}, {size} px, {arguments.threads} threads")
    for batch in BATCHES:
        crops = rng.random((batch, 3, size, size), np.float32)
        seconds = np.empty((arguments.rounds, 2))
        for k in range(-WARM_UP, arguments.rounds):
            for which, run in enumerate(sessions):
                start = time.process_time()
                run.run(None, {"crops": crops})
                seconds[max(k, 0), which] = time.process_time() - start
        both, alone = np.median(seconds, axis=0) * 1e3
        share = both / alone - 1
        print(
            f"batch {batch}: {both:.1f} ms of CPU time with C-Net, {alone:.1f} ms without:"
            f" {100 * share:.1f}% of R-Net's time (target below {100 * TARGET:g}%)"
        )


if __name__ == "__main__":
    main()
