"""Opening ONNX graphs with ONNX Runtime, the same way for every network of the service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from facewright.service.errors import ModelError

CPU_PROVIDERS: tuple[str, ...] = ("CPUExecutionProvider",)


CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"

Provider = str | tuple[str, dict[str, Any]]
"""ONNX Runtime's name of what runs networks, with options for it or without."""

Device = Literal["cpu", "cuda", "tensorrt"]

Float32 = npt.NDArray[np.float32]
RunNetwork = Callable[[Sequence[str], Mapping[str, Float32]], Sequence[Float32]]
"""From names of outputs and arrays for the inputs to the outputs."""


def providers_of(device: Device, *, half: bool = False) -> tuple[Provider, ...]:
    """What a network runs on, the preferred one first.

    half: TensorRT may compute in 16 bits where that is faster.
    """
    # Photos differ in size, and an exhaustive search would stop the server at each new one.
    cuda: Provider = (CUDA, {"cudnn_conv_algo_search": "HEURISTIC"})
    if device == "tensorrt":
        return (TENSORRT, {"trt_fp16_enable": half}), cuda, *CPU_PROVIDERS
    return (cuda, *CPU_PROVIDERS) if device == "cuda" else CPU_PROVIDERS


def provider_name(provider: Provider) -> str:
    """The name alone."""
    return provider if isinstance(provider, str) else provider[0]


def open_session(
    graph: Path | bytes, providers: Sequence[Provider] = CPU_PROVIDERS, threads: int = 1
) -> ort.InferenceSession:
    """Load an ONNX graph from a file, or from the bytes of one.

    `providers` are as of `providers_of`; `threads` is the number of threads one run may use
    (>= 1).  Raises `ModelError` when the file is missing or not a usable graph, or when the
    preferred provider cannot be had: a server that was set up for a GPU must not silently
    serve from the CPU.
    """
    available = ort.get_available_providers()
    names = [provider_name(provider) for provider in providers]
    missing = [name for name in names if name not in available]
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
    if session.get_providers()[0] != names[0]:
        raise ModelError(f"{names[0]} is installed but could not be started")
    return session


def runner(session: ort.InferenceSession) -> RunNetwork:
    """How to run a session: as it is on the CPU, else with its inputs in memory of the GPU.

    On the CPU a bound input would only be one more copy.
    """
    on_cpu = session.get_providers()[0] == CPU_PROVIDERS[0]
    return session.run if on_cpu else BoundInputs(session, "cuda")


class BoundInputs:
    """Runs a session whose inputs stay in the memory of a device; thread safe.

    There is one buffer for each shape of an input, which is used over and over.
    """

    def __init__(self, session: ort.InferenceSession, device: str) -> None:
        self._session = session
        self._device = device
        self._buffers: dict[tuple[str, tuple[int, ...]], ort.OrtValue] = {}
        self._lock = threading.Lock()

    def __call__(self, outputs: Sequence[str], inputs: Mapping[str, Float32]) -> Sequence[Float32]:
        """The outputs, in their order, in the memory of the CPU."""
        binding = self._session.io_binding()
        with self._lock:
            for name, array in inputs.items():
                binding.bind_ortvalue_input(name, self._filled(name, array))
            for name in outputs:
                binding.bind_output(name, self._device)
            self._session.run_with_iobinding(binding)
            answers: Sequence[Float32] = binding.copy_outputs_to_cpu()
            return answers

    def _filled(self, name: str, array: Float32) -> ort.OrtValue:
        """The buffer for this shape, with the values of `array`."""
        key = name, array.shape
        if key in self._buffers:
            self._buffers[key].update_inplace(array)
        else:
            # A copy: on the CPU an OrtValue is the array itself.
            self._buffers[key] = ort.OrtValue.ortvalue_from_numpy(array.copy(), self._device)
        return self._buffers[key]


def nchw(
    images: Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8],
) -> npt.NDArray[np.float32]:
    """Images (H, W, 3), N >= 1 of one size, as the input (N, 3, H, W) of a network, 0..255."""
    batch = np.empty((len(images), 3, *images[0].shape[:2]), np.float32)
    for planes, image in zip(batch, images, strict=True):
        # OpenCV takes the channels apart in half the time of a strided copy.
        for plane, channel in zip(planes, cv2.split(image), strict=True):
            plane[:] = channel
    return batch
