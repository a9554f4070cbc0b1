"""Contact sheets: what a person looks at to judge the face model."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.camera import CROP_SIZE, pose_points, project
from facewright.models.morphable_model import MorphableModel
from facewright.training.contact_sheets import contact_sheet
from facewright.training.drawing import BACKGROUND, draw

SEED = 7
TILE = 288
#: Sigmas of random people: one is a bold person, most people are nearer to the mean.
PERSON_SIGMA = 0.8

Picture = NDArray[np.uint8]


def render(
    model: MorphableModel,
    vertices: NDArray[np.float32],
    albedo: NDArray[np.float32] | None,
    angles: tuple[float, float, float],
    size: int = TILE,
) -> Picture:
    """Draw a face (V, 3) mm under soft light: (size, size, 3) uint8 RGB.

    Args:
        model: whose triangles are drawn.
        vertices: of the face.
        albedo: (V, 3) sRGB, or None for gray clay.
        angles: pitch, yaw, roll in degrees.
        size: of the picture in pixels.
    """
    turn = np.radians(np.array([angles]))
    posed = pose_points(vertices[None].astype(np.float64), turn, np.zeros((1, 3)))[0]
    return draw(model, posed, albedo, size).over(BACKGROUND)


def _tiled(pictures: list[Picture], columns: int) -> Picture:
    return contact_sheet(pictures, columns, int(BACKGROUND * 255))


def _labeled(picture: Picture, text: str) -> Picture:
    picture = picture.copy()
    cv2.putText(picture, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1)
    return picture


def random_people(
    model: MorphableModel, n: int, seed: int = SEED, with_expression: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shapes (n, V, 3) and albedos (n, V, 3) of random people at PERSON_SIGMA."""
    rng = np.random.default_rng(seed)
    identity = PERSON_SIGMA * rng.normal(size=(n, model.n_identity))
    colors = PERSON_SIGMA * rng.normal(size=(n, model.n_albedo))
    expression = np.zeros((n, model.n_expression))
    if with_expression:
        units = rng.integers(0, len(model.expression_units), (n, 2))
        strength = rng.uniform(0, 0.8, (n, 2, 1))
        expression = (model.expression_unit_coefficients[units] * strength).sum(axis=1)
    return model.shape(identity, expression), model.albedo(colors)


def mean_sheet(model: MorphableModel) -> Picture:
    """The mean from four sides, as clay and in color."""
    views = [(0.0, 0.0, 0.0), (0.0, 40.0, 0.0), (0.0, 85.0, 0.0), (-25.0, 0.0, 0.0)]
    mean, color = model.mean_vertices, model.mean_albedo
    return _tiled([render(model, mean, a, v) for a in (None, color) for v in views], 4)


def people_sheet(model: MorphableModel, in_color: bool) -> Picture:
    """Twelve random people and, below each four, their opposites (all coefficients negated)."""
    rng = np.random.default_rng(SEED)
    identity = PERSON_SIGMA * rng.normal(size=(12, model.n_identity))
    colors = PERSON_SIGMA * rng.normal(size=(12, model.n_albedo))
    yaw = rng.normal(0, 20, 12)
    neutral = np.zeros((12, model.n_expression))
    rows: list[Picture] = []
    faces = {s: (model.shape(s * identity, neutral), model.albedo(s * colors)) for s in (1, -1)}
    for start in (0, 4, 8):
        for sign, (shapes, albedos) in faces.items():
            for i in range(start, start + 4):
                albedo = albedos[i] if in_color else None
                rows.append(render(model, shapes[i], albedo, (0.0, sign * yaw[i], 0.0)))
    return _tiled(rows, 8)


def modes_sheet(model: MorphableModel) -> Picture:
    """The first eight identity modes at plus and minus two sigmas, turned by 30 degrees."""
    modes = np.eye(model.n_identity)[:8]
    neutral = np.zeros((8, model.n_expression))
    pictures = []
    for sign in (2, -2):
        for k, shape in enumerate(model.shape(sign * modes, neutral)):
            picture = render(model, shape, None, (0.0, 30.0, 0.0))
            pictures.append(_labeled(picture, f"mode {k + 1}: {sign:+d} sigma"))
    return _tiled(pictures, 8)


def units_sheet(model: MorphableModel) -> Picture:
    """Every named blendshape at full strength on the mean face."""
    coefficients = model.expression_unit_coefficients
    shapes = model.shape(np.zeros((len(coefficients), model.n_identity)), coefficients)
    pictures = [
        _labeled(render(model, shape, model.mean_albedo, (0.0, 15.0, 0.0), 200), name)
        for name, shape in zip(model.expression_units, shapes, strict=True)
    ]
    return _tiled(pictures, 12)


def albedo_sheet(model: MorphableModel) -> Picture:
    """Twelve random albedos on the mean face, at one sigma."""
    rng = np.random.default_rng(SEED)
    albedos = model.albedo(rng.normal(size=(12, model.n_albedo)))
    mean = model.mean_vertices
    return _tiled([render(model, mean, albedo, (0.0, 0.0, 0.0)) for albedo in albedos], 6)


def landmark_sheet(model: MorphableModel, size: int = 900) -> Picture:
    """The mean with its numbered landmarks and, tinted, the skin region."""
    colors = model.mean_albedo.copy()
    colors[model.skin_region] = 0.6 * colors[model.skin_region] + [0.0, 0.4, 0.0]
    picture = render(model, model.mean_vertices, colors, (0.0, 0.0, 0.0), size)
    marks = project(model.mean_vertices[None, model.landmarks].astype(np.float64))[0]
    for index, (x, y) in enumerate(marks * (size / CROP_SIZE)):
        # cv2 puts integer coordinates at pixel centers.
        at = (round(x - 0.5), round(y - 0.5))
        cv2.circle(picture, at, 2, (255, 40, 40), -1)
        beside = (at[0] + 3, at[1] - 2)
        cv2.putText(picture, str(index), beside, cv2.FONT_HERSHEY_SIMPLEX, 0.34, (0, 0, 160), 1)
    return picture


def overview(model: MorphableModel) -> Picture:
    """The mean and random people, some with an expression: a picture for the documentation."""
    size = 160
    shapes, albedos = random_people(model, 10)
    lively, lively_albedos = random_people(model, 6, SEED + 1, with_expression=True)
    views = [-35.0, -20.0, 0.0, 20.0, 35.0, 0.0]
    pictures = [
        render(model, model.mean_vertices, model.mean_albedo, (0.0, 0.0, 0.0), size),
        render(model, model.mean_vertices, None, (0.0, 35.0, 0.0), size),
    ]
    for i in range(10):
        pictures.append(render(model, shapes[i], albedos[i], (0.0, views[i % 6], 0.0), size))
    for i in range(6):
        pictures.append(render(model, lively[i], lively_albedos[i], (0.0, views[i] / 2, 0.0), size))
    return _tiled(pictures, 6)


def write_sheets(model: MorphableModel, directory: Path) -> list[Path]:
    """Write every sheet as PNG into ``directory`` (made when missing); returns the files."""
    directory.mkdir(parents=True, exist_ok=True)
    sheets = {
        "mean": mean_sheet(model),
        "people_clay": people_sheet(model, in_color=False),
        "people": people_sheet(model, in_color=True),
        "modes": modes_sheet(model),
        "units": units_sheet(model),
        "albedos": albedo_sheet(model),
        "landmarks": landmark_sheet(model),
        "overview": overview(model),
    }
    files = []
    for name, picture in sheets.items():
        file = directory / f"{name}.png"
        if not cv2.imwrite(str(file), picture[..., ::-1]):
            raise OSError(f"cannot write {file}")
        files.append(file)
    return files
