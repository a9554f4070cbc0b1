"""How far answers move as a photo is turned: `python benchmarks/bench_roll.py [PHOTO ...]`.

Turns each photo, by default the portraits of docs/images/portraits, in steps of 15 degrees all
around, on a gray square that holds it whole, and compares each answer with that of the photo
upright.  Prints Markdown: the Euclidean distance of the identity coefficients, which is what an
album takes strangers by; the difference of the mean confidence; and the mean distance of the
landmarks from the upright ones, turned alike, in shares of the longer side of their box.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.layout import LAYOUT_239
from facewright.service.errors import NoFaceFound
from facewright.service.pipeline.engine import Engine
from facewright.service.pipeline.photo import ImageLimits, decode_photo
from facewright.service.pipeline.reconstruction import Reconstructor, reconstruct_faces
from facewright.service.settings import Settings

PORTRAITS = Path(__file__).parents[1] / "docs" / "images" / "portraits"
STEP_DEGREES = 15
GRAY = (128, 128, 128)


class Answer(NamedTuple):
    """What is compared."""

    identity: NDArray[np.float32]
    """(80,)."""
    confidence: float
    landmarks: NDArray[np.float64]
    """(68, 2) px of the picture."""


def turn(width: int, height: int, side: int, degrees: float) -> NDArray[np.float64]:
    """(2, 3): from the photo to a square of `side` with the photo in its middle, turned."""
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    matrix[:, 2] += side / 2 - np.array([width / 2, height / 2])
    return np.asarray(matrix, np.float64)


def turned(rgb_u8: NDArray[np.uint8], matrix: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """The photo (H, W, 3) on the gray square."""
    whole = matrix.copy()  # OpenCV counts from pixels' centers
    whole[:, 2] += 0.5 * matrix[:, :2].sum(axis=1) - 0.5
    picture = cv2.warpAffine(rgb_u8, whole, (side, side), flags=cv2.INTER_CUBIC, borderValue=GRAY)
    return picture.astype(np.uint8, copy=False)


def ask(engine: Engine, reconstructor: Reconstructor, picture: NDArray[np.uint8]) -> Answer | None:
    """The answer for the largest face; None without one."""
    try:
        observed = reconstructor.observe(picture, "largest")
    except NoFaceFound:
        return None
    (face,) = reconstruct_faces(engine.model, observed)
    identity = LAYOUT_239.split(observed[0].coefficients[None]).identity[0]
    confidence = float(observed[0].confidences.mean())
    return Answer(identity, confidence, face.landmarks_px.astype(np.float64))


def main() -> None:
    """Print a row per photo, and the farthest that any answer moved."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("photos", nargs="*", type=Path, default=sorted(PORTRAITS.glob("*.png")))
    engine = Engine(Settings())
    reconstructor = Reconstructor(engine.model, engine.detector, engine.regressor.regress)
    print("| photo | identity: mean, most | confidence: most | landmarks: mean, most | found |")
    print("|---|---|---|---|---|")
    for photo in parser.parse_args().photos:
        rgb_u8 = decode_photo(photo.read_bytes(), ImageLimits())
        height, width = rgb_u8.shape[:2]
        side = int(np.ceil(np.hypot(width, height)))
        upright = turn(width, height, side, 0)
        first = ask(engine, reconstructor, turned(rgb_u8, upright, side))
        if first is None:
            print(f"| {photo.stem} | no face upright | | | |")
            continue
        moved = []
        angles = range(STEP_DEGREES, 360, STEP_DEGREES)
        for degrees in angles:
            matrix = turn(width, height, side, degrees)
            answer = ask(engine, reconstructor, turned(rgb_u8, matrix, side))
            if answer is None:
                continue
            in_photo = first.landmarks - upright[:, 2]
            expected = in_photo @ matrix[:, :2].T + matrix[:, 2]
            distances = np.linalg.norm(answer.landmarks - expected, axis=1)
            moved.append(
                (
                    np.linalg.norm(answer.identity - first.identity),
                    abs(answer.confidence - first.confidence),
                    distances.mean() / np.ptp(first.landmarks, axis=0).max(),
                )
            )
        mean, most = np.mean(moved, axis=0), np.max(moved, axis=0)
        print(
            f"| {photo.stem} | {mean[0]:.2f}, {most[0]:.2f} | {most[1]:.3f} | "
            f"{mean[2]:.2%}, {most[2]:.2%} | {len(moved)} of {len(angles)} |"
        )
    engine.close()


if __name__ == "__main__":
    main()
