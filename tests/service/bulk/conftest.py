"""Photos of the repository's portraits, sound and broken, and what a run makes of them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
PORTRAITS = sorted((ROOT / "docs" / "images" / "portraits").glob("*.png"))


def jpeg(number: int) -> bytes:
    """A photo of its own: one of the portraits, in a size and quality by its number."""
    side = 160 + 8 * (number % 7)
    with Image.open(PORTRAITS[number % len(PORTRAITS)]) as portrait:
        data = io.BytesIO()
        portrait.convert("RGB").resize((side, side)).save(data, "JPEG", quality=70 + number % 25)
    return data.getvalue()


@pytest.fixture(scope="session")
def photos() -> list[bytes]:
    """Twelve sound photos."""
    return [jpeg(number) for number in range(12)]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, photos: list[bytes]) -> Path:
    """A directory of two people's photos; three of fifteen are broken."""
    directory = tmp_path_factory.mktemp("photos")
    for number, data in enumerate(photos):
        file = directory / "anna" / f"{number:02d}.jpg"
        if number % len(PORTRAITS) == 1:
            file = directory / "berta" / f"{number:02d}.jpg"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
    (directory / "berta" / "cut.jpg").write_bytes(photos[1][:900])
    (directory / "berta" / "empty.png").write_bytes(b"")
    blank = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 120, 90)).save(blank, "PNG")
    (directory / "berta" / "nobody.png").write_bytes(blank.getvalue())
    (directory / "notes.txt").write_text("no photo")
    return directory
