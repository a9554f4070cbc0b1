"""Printing what is loaded, for the command line."""

from __future__ import annotations

from facewright import __version__
from facewright.service.pipeline.engine import Engine
from facewright.service.results.descriptions import describe_models
from facewright.service.settings import Settings


def print_models() -> int:
    """Print names, versions, licenses and checksums of the models. Raises `ModelError`."""
    engine = Engine(Settings())
    described = describe_models(engine, __version__)
    engine.close()
    for part in ("face_model", "weights", "detector"):
        print(part.replace("_", " "))
        for name, value in getattr(described, part).model_dump().items():
            if name == "expression_units":
                value = f"{len(value)} names"
            elif isinstance(value, list):
                value = ", ".join(value)
            print(f"  {name.replace('_', ' '):<24} {value}")
    return 0
