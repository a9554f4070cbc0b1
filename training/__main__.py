"""The program `facewright-train`, also as `python -m facewright.training`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; one line says so where what training needs is not installed."""
    try:
        from facewright.training.cli import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("facewright"):
            raise
        sys.exit(
            f"facewright-train: {error.name} is missing: it comes with the extra 'train' "
            "(docs/training.md), in a checkout by make .venv/.dev"
        )
    app()


if __name__ == "__main__":
    main()
