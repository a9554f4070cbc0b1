"""The command `facewright` as a module: `python -m facewright`."""

from facewright.cli import app

app()
