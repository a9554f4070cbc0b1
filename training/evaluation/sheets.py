"""Contact sheets: what networks make of pictures, to be judged by eye."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.camera import CROP_SIZE, pose_points
from facewright.models.layout import LAYOUT_239, CoefficientLayout
from facewright.models.morphable_model import MorphableModel
from facewright.training.contact_sheets import contact_sheet
from facewright.training.data.shards import COEFFICIENTS, ShardSet
from facewright.training.drawing import BACKGROUND, Drawing, draw
from facewright.training.evaluation.network import Network

Picture = NDArray[np.uint8]

# Skin, brows and lips shine through the drawn face.
OPACITY = 0.7


def comparison_sheet(
    networks: Sequence[Network],
    model: MorphableModel,
    shards: ShardSet,
    rows: NDArray[np.int64],
    *,
    columns: int = 1,
    side: int = CROP_SIZE,
    track: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Picture:
    """One strip for each picture; `columns` strips stand side by side.

    A strip holds the picture, the face that each network finds in it drawn over it, the true face
    where it is known (portraits), and each network's face alone.

    Args:
        networks: to compare, of the same face model.
        model: that face model.
        shards: the pictures.
        rows: which of them.
        columns: strips in a line.
        side: of a cell in px.
        track: wraps the rows, to show progress.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: there are no rows, or a network is of another face model.
    """
    for network in networks:
        network.check(model)
    strips = [_strip(networks, model, shards, row, side) for row in track(rows.tolist())]
    return contact_sheet(strips, columns)


def _strip(
    networks: Sequence[Network], model: MorphableModel, shards: ShardSet, row: int, side: int
) -> Picture:
    crop = shards.crops([row])
    faces = [_face(model, network.layout, network.predict(crop)[0]) for network in networks]
    photo = crop[0] / 255.0
    cells = [crop[0], *(face.over(photo, OPACITY) for face in faces)]
    if shards.meta.kind == "portraits":
        labels = shards.labels.take(np.array([row]))
        true = np.concatenate([getattr(labels, name)[0] for name in COEFFICIENTS])
        cells.append(_face(model, LAYOUT_239, true).over(BACKGROUND))
    cells += [face.over(BACKGROUND) for face in faces]
    way = cv2.INTER_AREA if side <= CROP_SIZE else cv2.INTER_CUBIC
    resized = [cv2.resize(cell, (side, side), interpolation=way) for cell in cells]
    return np.hstack(resized).astype(np.uint8, copy=False)


def _face(
    model: MorphableModel, layout: CoefficientLayout, coefficients: NDArray[np.float32]
) -> Drawing:
    parts = layout.split(coefficients[None])
    shape = model.shape(parts.identity, parts.expression)
    return draw(model, pose_points(shape, parts.rotation, parts.translation)[0])
