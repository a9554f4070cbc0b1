"""Opening ONNX graphs with ONNX Runtime, the same way for every network of the service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from service.errors import ModelError

CPU_PROVIDERS: tuple[str, ...] = ("CPUExecutionProvider",)


def open_session(
    graph: Path | bytes, providers: Sequence[str] = CPU_PROVIDERS, threads: int = 1
) -> ort.InferenceSession:
    """Load an ONNX graph from a file, or from the bytes of one.

    `providers` are ONNX Runtime's names, the preferred one first; `threads` is the number of
    threads one run may use (>= 1).  Raises `ModelError` when the file is missing or not a
    usable graph, or when the preferred provider cannot be had: a server that was set up for
    a GPU must not silently serve from the CPU.
    """
    available = ort.get_available_providers()
    missing = [provider for provider in providers if provider not in available]
    if missing or not providers:
        raise ModelError(
            f"ONNX Runtime has no {', '.join(missing) or 'provider to run on'}; "
            f"installed: {', '.join(available)}"
        )
    if isinstance(graph, Path) and not graph.is_file():
        raise ModelError(f"there is no network file {graph}")

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait for work take the processor from the other requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(graph, sess_options=options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        name = graph.name if isinstance(graph, Path) else "a graph in memory"
        raise ModelError(f"ONNX Runtime cannot load {name}: {error}") from error
    if session.get_providers()[0] != providers[0]:
        raise ModelError(f"{providers[0]} is installed but could not be started")
    return session


def nchw(images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    """Images (H, W, 3), N >= 1 of one size, as the input (N, 3, H, W) of a network, 0..255."""
    batch = np.empty((len(images), 3, *images[0].shape[:2]), np.float32)
    for planes, image in zip(batch, images, strict=True):
        # OpenCV takes the channels apart in half the time of a strided copy.
        for plane, channel in zip(planes, cv2.split(image), strict=True):
            plane[:] = channel
    return batch
