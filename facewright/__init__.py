"""A photo of a face in, a 3D mesh out.

    with facewright.Engine() as engine:
        for number, face in enumerate(engine.reconstruct("portrait.jpg")):
            face.write_glb(f"face{number}.glb")

`docs/library.md` shows the rest.  The names below are loaded when they are first asked for:
`import facewright` alone is quick, and training never loads the service.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facewright.library import Album, Engine, Reconstruction
    from facewright.models.morphable_model import MorphableModel
    from facewright.service.errors import FacewrightError

__version__ = "0.1.0"

__all__ = ["Album", "Engine", "FacewrightError", "MorphableModel", "Reconstruction"]

_HOMES = {
    "Album": "facewright.library",
    "Engine": "facewright.library",
    "Reconstruction": "facewright.library",
    "FacewrightError": "facewright.service.errors",
    "MorphableModel": "facewright.models.morphable_model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
