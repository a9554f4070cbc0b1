"""A toy head for tests: an egg with eyeballs, a mouth, ears and a few made-up modes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.morphable_model import MorphableModel
from facewright.training.face_model.heads import HeadModel
from tests.face_models import face_model as make_face_model

N_IDENTITY, N_EXPRESSION, N_ALBEDO, N_RESIDUAL = 80, 64, 80, 2


class ToyHead(NamedTuple):
    data: HeadModel
    model: MorphableModel
    head_path: Path
    model_path: Path


def egg(rows: int, columns: int, radii: np.ndarray, center: np.ndarray):
    """Closed mesh of an ellipsoid, counter-clockwise seen from outside."""
    polar = np.linspace(0.02, np.pi - 0.02, rows)[:, None]
    around = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    points = np.stack(
        [
            np.sin(polar) * np.sin(around),
            np.cos(polar) + 0 * around,
            np.sin(polar) * np.cos(around),
        ],
        axis=-1,
    ).reshape(-1, 3)
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b = index[:-1], np.roll(index, -1, axis=1)[:-1]
    c, d = index[1:], np.roll(index, -1, axis=1)[1:]
    triangles = np.concatenate(
        [np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)]
    )
    return points * radii + center, triangles


def surface_point(x: float, y: float) -> np.ndarray:
    """Where the line through (x, y) along z meets the front of the toy skull."""
    z = 100 * np.sqrt(max(0.0, 1 - (x / 76) ** 2 - ((y + 10) / 120) ** 2)) - 60
    return np.array([x, y, z])


def toy_landmarks() -> np.ndarray:
    jaw = [(70 * np.sin(t), 20 - 100 * np.cos(t)) for t in np.linspace(-1.5, 1.5, 17)]
    brow = [(x, 50 + 4 * np.cos((x - 30) / 14)) for x in np.linspace(12, 54, 5)]
    nose = [(0, 30), (0, 20), (0, 8), (0, -4)]
    base = [(x, -18) for x in (-13, -7, 0, 7, 13)]
    eye = [(18, 31), (26, 35), (36, 35), (44, 31), (36, 27), (26, 27)]
    left_eye = [(-eye[k][0], eye[k][1]) for k in (3, 2, 1, 0, 5, 4)]
    mouth = [(26 * np.cos(t), -42 + 9 * np.sin(t)) for t in np.linspace(np.pi, -np.pi, 13)[:-1]]
    inner = [(18 * np.cos(t), -42 + 2 * np.sin(t)) for t in np.linspace(np.pi, -np.pi, 9)[:-1]]
    flat = [*jaw, *[(-x, y) for x, y in brow[::-1]], *brow, *nose, *base, *left_eye, *eye]
    flat += [*mouth, *inner]
    points = np.stack([surface_point(x, y) for x, y in flat])
    points[30, 2] += 18
    return points


@pytest.fixture(scope="session")
def toy_head(tmp_path_factory: pytest.TempPathFactory) -> ToyHead:
    rng = np.random.default_rng(0)
    skull, skull_triangles = egg(46, 60, np.array([76.0, 120, 100]), np.array([0.0, -10, -60]))
    eye_centers = [surface_point(side * 31, 31) - [0, 0, 9] for side in (-1, 1)]
    eyes = [egg(9, 12, np.full(3, 12.0), center) for center in eye_centers]
    body, body_triangles = egg(14, 24, np.array([170.0, 90, 80]), np.array([0.0, -205, -70]))
    neck, neck_triangles = egg(12, 20, np.array([52.0, 90, 52]), np.array([0.0, -120, -70]))
    points = np.concatenate([skull, eyes[0][0], eyes[1][0], body, neck])
    blocks = [skull_triangles, eyes[0][1], eyes[1][1], body_triangles, neck_triangles]
    sizes = [len(skull), len(eyes[0][0]), len(eyes[1][0]), len(body), len(neck)]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    triangles = np.concatenate([b + s for b, s in zip(blocks, starts, strict=True)])
    codes = [0, 2, 2, 0, 0]
    parts = np.repeat(codes, sizes).astype(np.uint8)
    triangle_parts = np.repeat(codes, [len(b) for b in blocks]).astype(np.uint8)
    marks = toy_landmarks()

    # The face model is the front of the skull with the eyeballs and the landmarks' own vertices.
    front = (points[:, 2] > -55) & (points[:, 1] > -105) & (np.arange(len(points)) < starts[3])
    keep = front[triangles].all(1)
    used = np.unique(triangles[keep])
    renumber = np.full(len(points), -1)
    renumber[used] = np.arange(len(used))
    face_points = np.concatenate([points[used], marks])
    origin = face_points.mean(0)
    face_triangles = renumber[triangles[keep]].astype(np.int32)
    n = len(face_points)
    waves = rng.normal(0, 0.02, (N_IDENTITY + N_EXPRESSION + N_RESIDUAL, 3, 3))
    phases = rng.uniform(0, 6.3, (len(waves), 3))
    directions = rng.normal(0, 0.25, (len(waves), 3))

    def modes(at: np.ndarray) -> np.ndarray:
        height = np.sin(np.einsum("kab,vb->kva", waves, at) + phases[:, None]).sum(2)
        return (height[..., None] * directions[:, None]).astype(np.float32)

    of_face, of_head = modes(face_points), modes(points)
    of_head[N_IDENTITY + N_EXPRESSION :, used] = 0
    units = tuple(
        name + side
        for name in ("eyeBlink", "mouthSmile", "cheekSquint", "mouthUpperUp", "mouthLowerDown")
        for side in ("Left", "Right")
    ) + ("jawOpen", "mouthFunnel", "mouthPucker")
    model = make_face_model(
        face_points - origin,
        face_triangles,
        np.arange(len(used), n),
        identity=of_face[:N_IDENTITY],
        expression=of_face[N_IDENTITY : N_IDENTITY + N_EXPRESSION],
        albedo=rng.normal(0, 0.02, (N_ALBEDO, n, 3)),
        mean_albedo=np.tile([0.7, 0.55, 0.45], (n, 1)),
        skin_region=np.zeros(n, bool),
        parts=np.concatenate([parts[used], np.zeros(68, np.uint8)]),
        expression_units=units,
        expression_unit_coefficients=rng.normal(0, 1, (len(units), N_EXPRESSION)),
    )
    x, y, z = points.T
    on_skull = np.arange(len(points)) < sizes[0]
    near_mouth = np.exp(-((x / 22) ** 4) - ((y + 42) / 9) ** 4) * (z > 0)
    ears = (np.abs(x) > 68) & (np.abs(y - 20) < 28) & (np.abs(z + 70) < 25)
    lids = np.minimum(*[np.linalg.norm(points - c, axis=1) for c in eye_centers]) < 19
    masks = {
        "lips": near_mouth * on_skull,
        "eyelids": (lids & on_skull).astype(float),
        "ears": (ears & on_skull).astype(float),
        "face": (front & on_skull).astype(float),
    }
    n_face_modes = N_IDENTITY + N_EXPRESSION
    marks_modes = of_face[:, len(used) :]
    data = HeadModel(
        mean_shape=(points - origin).astype(np.float32),
        identity_basis=of_head[:N_IDENTITY],
        residual_basis=of_head[n_face_modes:],
        expression_basis=of_head[N_IDENTITY:n_face_modes],
        triangles=triangles.astype(np.int32),
        parts=parts,
        triangle_parts=triangle_parts,
        masks={k: v.astype(np.float32) for k, v in masks.items()},
        face_vertices=used.astype(np.int32),
        face_model_vertices=np.arange(len(used), dtype=np.int32),
        landmark_mean=(marks - origin).astype(np.float32),
        landmark_identity=marks_modes[:N_IDENTITY],
        landmark_expression=marks_modes[N_IDENTITY:n_face_modes],
        mirror=np.arange(len(points), dtype=np.int32),
        identity_signs=np.ones(N_IDENTITY, np.int8),
        residual_signs=np.ones(N_RESIDUAL, np.int8),
        expression_signs=np.ones(N_EXPRESSION, np.int8),
        identity_samples=rng.standard_normal((30, N_IDENTITY)).astype(np.float32),
        residual_samples=rng.standard_normal((30, N_RESIDUAL)).astype(np.float32),
        expression_samples=rng.standard_normal((30, N_EXPRESSION)).astype(np.float32),
        trait_samples=rng.dirichlet(np.ones(7), 20).astype(np.float32),
    )
    directory = tmp_path_factory.mktemp("toy_head")
    head_path, model_path = directory / "head.npz", directory / "face_model.npz"
    data.save(head_path)
    model.save(model_path)
    return ToyHead(data, MorphableModel.load(model_path), head_path, model_path)


@pytest.fixture(scope="session")
def face_model(toy_head: ToyHead) -> MorphableModel:
    return toy_head.model


@pytest.fixture(scope="session")
def face_model_file(toy_head: ToyHead) -> Path:
    return toy_head.model_path


@pytest.fixture(scope="session")
def shipped_model() -> MorphableModel:
    return MorphableModel.load(asset_path(FACE_MODEL))
