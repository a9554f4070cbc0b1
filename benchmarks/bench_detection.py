"""How many faces the detectors find: `python benchmarks/bench_detection.py [DIR ...]`.

Pastes the portraits of docs/images/portraits, and those of directories that are named, into
scenes of many sizes, from 24 px to the whole picture and several at once, and asks every
detector that is installed for them.  Prints Markdown: faces found by their width in pixels, the
points' error in distances of the eyes, false faces, and the time of a photo of 512 px with one
face over that of the regression network.  --quick takes 36 scenes of 240.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.camera import CROP_SIZE
from facewright.service.networks.detection import DetectedFace, Detector
from facewright.service.pipeline.engine import Engine
from facewright.service.pipeline.loading import open_detector
from facewright.service.pipeline.photo import ImageLimits, decode_photo
from facewright.service.pipeline.reconstruction import Reconstructor
from facewright.service.settings import Settings

PORTRAITS = Path(__file__).parents[1] / "docs" / "images" / "portraits"
DETECTORS = ("centerface", "blazeface")
WIDTHS = (24, 32, 40, 48, 64, 96, 128, 192, 256)
"""Of faces, px; beside them, shares of the picture's shorter side."""
SHARES = (0.5, 0.7, 0.9)
SIZES = ((384, 512), (512, 512), (1000, 750), (1200, 1800), (3000, 4000), (4000, 6000))
"""Rows and columns of scenes."""
LARGEST_IN_PLACES = ((40, 60), (4000, 6000), 24)
"""Widths of the face that is put in as many places of a photo of so many pixels."""

RgbU8 = NDArray[np.uint8]


class Portrait(NamedTuple):
    """A face to be pasted: the part of a picture around it."""

    rgb_u8: RgbU8
    points: NDArray[np.float64]
    """(5, 2), as of `DetectedFace`, by the landmarks of the network."""
    width: float
    """Of the face in px, from ear to ear."""


class Truth(NamedTuple):
    """A face that is in a scene."""

    points: NDArray[np.float64]
    width: float


class Tally:
    """What a detector makes of faces of one width."""

    def __init__(self) -> None:
        self.faces = 0
        self.errors: list[float] = []

    def __str__(self) -> str:
        found = f"{len(self.errors)} of {self.faces}"
        return f"{found}, {100 * statistics.median(self.errors):.1f}%" if self.errors else found


def five_points(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """Points (5, 2) from 68 landmarks."""
    eyes = [landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)]
    return np.stack([*eyes, *landmarks[[30, 48, 54]]]).astype(np.float64)


def load_portraits(engine: Engine, directories: Sequence[Path], most: int) -> list[Portrait]:
    """Pictures in which CenterFace finds one face; its points are those of the reconstruction."""
    detector = open_detector(Settings(detector="centerface"))
    reconstructor = Reconstructor(engine.model, detector, engine.regressor.regress)
    portraits = []
    for directory in directories:
        paths = sorted(p for p in directory.iterdir() if p.suffix in (".png", ".jpg", ".jpeg"))
        for path in paths[:: max(1, len(paths) // most)]:
            picture = decode_photo(path.read_bytes(), ImageLimits())
            (face,) = reconstructor.reconstruct(picture, "largest")
            landmarks = face.landmarks_px
            low, high = landmarks.min(axis=0), landmarks.max(axis=0)
            reach = 0.75 * (high - low).max()
            left, top = np.maximum(0, (low + high) / 2 - reach).astype(int)
            right, bottom = ((low + high) / 2 + reach).astype(int)
            points = five_points(landmarks) - (left, top)
            width = float(high[0] - low[0])
            portraits.append(Portrait(picture[top:bottom, left:right], points, width))
    return portraits


def backdrop(rng: np.random.Generator, rows: int, columns: int) -> RgbU8:
    """Something like a photo without people: clouds of all scales, and a few hard edges."""
    picture = np.full((rows, columns, 3), rng.uniform(60, 190, 3), np.float32)
    cells = 3
    while cells < 2 * max(rows, columns) and cells < 1500:
        shape = (
            max(2, cells * rows // max(rows, columns)),
            max(2, cells * columns // max(rows, columns)),
        )
        clouds = rng.normal(0, 50 * (3 / cells) ** 0.6, (*shape, 3)).astype(np.float32)
        picture += cv2.resize(clouds, (columns, rows), interpolation=cv2.INTER_LINEAR)
        cells *= 3
    for _ in range(12):
        corner = rng.integers(0, (columns, rows))
        size = rng.integers(10, max(12, max(rows, columns) // 4), 2)
        color = rng.uniform(0, 255, 3).tolist()
        cv2.rectangle(picture, corner, corner + size, color, -1)
    return np.clip(picture, 0, 255).astype(np.uint8)


def paste(scene: RgbU8, portrait: Portrait, width: float, center: NDArray[np.float64]) -> Truth:
    """Put a portrait into a scene, its face `width` px wide; its edges are soft."""
    scale = width / portrait.width
    rows, columns = (max(1, round(scale * side)) for side in portrait.rgb_u8.shape[:2])
    shrinks = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(portrait.rgb_u8, (columns, rows), interpolation=shrinks)
    left, top = np.round(center - scale * portrait.points.mean(axis=0)).astype(int)
    y, x = np.mgrid[0:rows, 0:columns]
    edge = np.minimum.reduce([x, y, columns - 1 - x, rows - 1 - y])
    weight = np.clip((edge + 0.5) / max(2.0, 0.1 * width), 0, 1)[..., None]
    y0, y1 = max(0, top), min(len(scene), top + rows)
    x0, x1 = max(0, left), min(scene.shape[1], left + columns)
    part = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    behind = scene[y0:y1, x0:x1]
    scene[y0:y1, x0:x1] = np.rint(weight[part] * small[part] + (1 - weight[part]) * behind)
    return Truth(scale * portrait.points + (left, top), width)


def scenes(
    portraits: Sequence[Portrait], rng: np.random.Generator, rounds: int
) -> Iterator[tuple[RgbU8, list[Truth]]]:
    """Pictures and the faces in them, which do not overlap; one in eight has none."""
    for number in range(rounds):
        rows, columns = SIZES[number % len(SIZES)]
        scene = backdrop(rng, rows, columns)
        truths: list[Truth] = []
        widths = rng.permutation([*WIDTHS, *(share * min(rows, columns) for share in SHARES)])
        for width in widths[: rng.integers(1, 6)] if number % 8 != 7 else ():
            reach = 0.8 * width
            if 2 * reach > 1.2 * min(rows, columns):
                center = np.array([columns, rows]) / 2
            else:
                low = np.minimum(reach, np.array([columns, rows]) / 2)
                center = rng.uniform(low, np.maximum(low + 1, [columns - reach, rows - reach]))
            clear = all(
                np.abs(center - t.points.mean(axis=0)).max() > 0.85 * (width + t.width)
                for t in truths
            )
            if clear:
                portrait = portraits[rng.integers(len(portraits))]
                truths.append(paste(scene, portrait, float(width), center))
        yield scene, truths


def judge(faces: Sequence[DetectedFace], truths: Sequence[Truth], tallies: dict[int, Tally]) -> int:
    """Count what was found; returns the number of false faces."""
    left = list(faces)
    for truth in truths:
        tally = tallies[min(WIDTHS, key=lambda w, t=truth: abs(np.log(w / t.width)))]
        tally.faces += 1
        middle = truth.points.mean(axis=0)
        near = [
            f for f in left if np.linalg.norm(f.points.mean(axis=0) - middle) < 0.3 * truth.width
        ]
        if not near:
            continue
        face = max(near, key=lambda f: f.score)
        left = [f for f in left if f not in near]
        eyes = np.linalg.norm(truth.points[0] - truth.points[1])
        tally.errors.append(float(np.linalg.norm(face.points - truth.points, axis=1).mean() / eyes))
    return len(left)


def in_places(detector: Detector, portraits: Sequence[Portrait], width: int) -> int:
    """In how many of the places of a large photo a lone face is found."""
    _, (rows, columns), places = LARGEST_IN_PLACES
    rng = np.random.default_rng(width)
    empty = backdrop(rng, rows, columns)
    found = 0
    for number in range(places):
        scene = empty.copy()
        center = rng.uniform(width, (columns - width, rows - width))
        truth = paste(scene, portraits[number % len(portraits)], width, center)
        tallies = {w: Tally() for w in WIDTHS}
        judge(detector.detect(scene), [truth], tallies)
        found += sum(len(tally.errors) for tally in tallies.values())
    return found


def seconds_of(
    engine: Engine, detectors: Sequence[Detector], portrait: Portrait
) -> dict[str, float]:
    """Median seconds of a 512 px photo with one face in each detector and in the network."""
    rng = np.random.default_rng(0)
    scene = backdrop(rng, 512, 512)
    paste(scene, portrait, 220.0, np.array([256.0, 256.0]))
    crop = np.zeros((1, CROP_SIZE, CROP_SIZE, 3), np.uint8)
    calls = {d.name: (lambda d=d: d.detect(scene)) for d in detectors}
    calls["regression"] = lambda: engine.regressor.regress(crop)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(15):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return {name: float(np.median(some)) for name, some in times.items()}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directories", nargs="*", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    engine = Engine(Settings())
    portraits = load_portraits(engine, [PORTRAITS, *arguments.directories], 40)
    detectors = [open_detector(Settings(detector=name)) for name in DETECTORS]  # type: ignore[arg-type]
    tallies = {d.name: {width: Tally() for width in WIDTHS} for d in detectors}
    false = dict.fromkeys(DETECTORS, 0)
    rounds = 36 if arguments.quick else 240
    for scene, truths in scenes(portraits, np.random.default_rng(0), rounds):
        for detector in detectors:
            false[detector.name] += judge(detector.detect(scene), truths, tallies[detector.name])
    print("| face, px | " + " | ".join(DETECTORS) + " |\n|---" + "|---" * len(DETECTORS) + "|")
    for width in WIDTHS:
        print(f"| {width} | " + " | ".join(str(tallies[d][width]) for d in DETECTORS) + " |")
    print(
        f"| false faces in {rounds} scenes | " + " | ".join(str(false[d]) for d in DETECTORS) + " |"
    )
    for width in LARGEST_IN_PLACES[0]:
        counts = [str(in_places(d, portraits, width)) for d in detectors]
        name = f"{width} px in 24 MP, of {LARGEST_IN_PLACES[2]} places"
        print(f"| {name} | " + " | ".join(counts) + " |")
    seconds = seconds_of(engine, detectors, portraits[0])
    ratios = [f"{seconds[d] / seconds['regression']:.2f}" for d in DETECTORS]
    print("| time over regression, 512 px, one face | " + " | ".join(ratios) + " |")
    engine.close()


if __name__ == "__main__":
    main()
