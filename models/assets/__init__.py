"""The face model and the networks that are shipped with the package."""

from __future__ import annotations

import hashlib
from pathlib import Path

FACE_MODEL = "face_model.npz"

HEAD_RIG = "head_model.npz"
"""The head that goes with the face model, for animation."""

WEIGHTS = "rnet_v4.onnx"
"""R-Net and C-Net in one file; its record (``.json``) and model card (``.md``) lie beside it."""

SEGMENTATION = "segmentation_v2.onnx"
"""What tells skin from what lies before it, with a record and a model card."""

_DIRECTORY = Path(__file__).resolve().parent


def asset_path(name: str) -> Path:
    """Path of a shipped file, such as :data:`FACE_MODEL`.

    Raises:
        FileNotFoundError: the file is not there; the message says where it was expected.
        ValueError: ``name`` is a path and not a bare file name.
    """
    if name != Path(name).name:
        raise ValueError(f"an asset is named by its file name alone, got {name!r}")
    path = _DIRECTORY / name
    if not path.is_file():
        raise FileNotFoundError(f"asset {name!r} is missing: expected at {path}")
    return path


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits. Raises FileNotFoundError when it is missing."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
