"""One texture for the whole head: the photo's face, and what no photo of a face shows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.head_rig import PARTS
from facewright.models.jit import kernel
from facewright.models.morphable_model import MorphableModel
from facewright.models.rasterizer import EMPTY, rasterize
from facewright.models.segmentation import OCCLUDER, Segmentation
from facewright.models.texture.atlas import spread_over_texels
from facewright.models.texture.baking import TextureBaker
from facewright.models.texture.views import TextureView
from facewright.service.pipeline.heads import (
    IRIS,
    LASHES,
    PUPIL,
    Heads,
    even_outline,
)
from facewright.service.pipeline.mouth_colors import ToothPlaces
from facewright.service.pipeline.reconstruction import Reconstruction

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
RgbU8 = NDArray[np.uint8]
Spread = Callable[[Float32], Float32]
"""From values (V, 3) at the head's vertices to those of the texels (N * N, 3)."""

# Teeth, tongue and eyes are lit as the skin is, within these limits.
_EXPOSURE = (0.45, 1.4)
# They take so much of the light's color: it may as well be an albedo that the network got wrong.
_TINTED = 0.35
_BRIGHT_EYES = 1.15
# Of the iris, what a photo shows of it is taken by this share.
_IRIS_FROM_PHOTO = 0.6
_IRIS_DEGREES = (12.0, 21.0)
# Standard deviation of the grain, as a share of the color.
_SKIN_GRAIN, _HAIR_GRAIN, _IRIS_GRAIN = np.float32(0.012), np.float32(0.11), np.float32(0.16)
# How far hair covers the skin of the scalp.
_HAIR_COVERS = 0.97
# How far single hairs begin before or behind the line where hair begins.
_HAIRLINE = 0.45
# Hair grows out of the crown, which lies in this direction from the middle of the scalp, and
# turns about it by this many radians on its way down.
_CROWN, _WHORL = np.array([0.0, 0.8, -0.6]), 0.6
# Strands: how many there are around the crown, and how long they are, mm.
_STRANDS = ((620, 12.0), (270, 26.0))
_FIBERS = ((70, 9.0), (31, 14.0))
# Where the lashes' color lies in the image, and half its side.
_LASHES_HALF = 0.008
# Quantiles of brightness between which the hair's color lies: not its shine.
_HAIR_TONES = (0.15, 0.5)
# What differs less from the face's skin is no hair: mean of the logarithms of the channels' ratios,
# and their range; nor is what differs less from what lies around the head, in every channel.
_LIKE_SKIN, _LIKE_BACKGROUND = (0.42, 0.2), 0.25
# Hair that nobody dyed is never bluer or greener than this, over red: what stands off the head and
# is, is a background of several tones.
_LEAST_RED = 0.9
# How far off the scalp hair is looked for, and how far off nothing of it is expected, mm.
_STANDS_OFF, _BACKGROUND = 9.0, 40.0
# Share of the hair above the forehead that must lie within the photo.
_LEAST_SEEN = 0.3
# Probability of an occluder from which on hair is not looked for behind it.
_COVERED = 0.5


@dataclass(frozen=True, eq=False)
class _Layout:
    """The texels of the head at one size."""

    triangle_ids: NDArray[np.int32]
    """(N, N); -1 beyond the islands."""
    barycentric: Float32
    """(N, N, 2)."""
    face: Float32
    """(N, N) in [0, 1]: how far a texel is the baked face's."""
    eyes: tuple[NDArray[np.intp], NDArray[np.intp], Float32]
    """Flat indices of the eyeballs' texels, their degrees from the pupil's middle, and factors
    (n, 1) of their color."""
    teeth: tuple[NDArray[np.intp], Float32]
    """Flat indices of texels, and their colors (n, 3)."""
    lashes: tuple[slice, slice]
    grain: Float32
    """(N, N) factors that make skin less like paint."""
    hair_cover: Float32
    """(N, N) in [0, 1]: how far hair covers a texel."""
    strands: Float32
    """(N, N) factors of the hair's color."""
    nearest: NDArray[np.int32]
    """(N, N) flat indices: a texel itself, or the nearest within an island."""


def hair_color(
    photo: RgbU8,
    face: Reconstruction,
    heads: Heads,
    scale: float | Float64 = 1.0,
    segmentation: Segmentation | None = None,
) -> RgbU8 | None:
    """(3,) what the photo (H, W, 3) shows right above the face.

    Where that is skin, what stands off the head behind it: hair of a receding line, unless it is
    what lies further out as well.  None where that is not in the photo, or is skin too.
    scale: (2,) or one for both, pixels of this photo per pixel of the face's.
    segmentation: of this photo; what it knows to be headwear or a hand gives no color.
    """
    cage = heads.cage(
        face.geometry.cage,
        face.geometry.identity,
        np.zeros(len(heads.rig.expression_extra), np.float32),
    )

    def seen(points: Float32) -> Float32 | None:
        """(n, 3) colors at points in model space, if enough of them are seen in the photo."""
        pixels = face.project(points)
        places = np.floor(pixels[:, :2] * scale).astype(np.intp)
        inside = (pixels[:, 2] > 1) & ((places >= 0) & (places < photo.shape[1::-1])).all(axis=1)
        if segmentation is not None:
            # Beyond what was segmented nothing is known to cover anything.
            inside &= ~(segmentation.at(OCCLUDER, pixels[:, :2] * scale) > _COVERED)
        if inside.sum() < _LEAST_SEEN * len(points):
            return None
        columns, lines = places[inside].T
        return photo[lines, columns].astype(np.float32)

    def points(rows: NDArray[np.intp]) -> Float32:
        return heads.rig.subdivision.take(rows).refine(cage[None])[0]

    front, skin = seen(points(heads.above_forehead)), seen(face.vertices[heads.skin_vertices])
    if front is None or skin is None:
        return None
    bare = np.median(skin, axis=0)
    hair = _tone(front)
    if _is_skin(hair, bare):
        top = points(heads.top)
        middle = top.mean(axis=0) * [1, 0, 1]
        outwards = (top - middle) / np.linalg.norm(top - middle, axis=1)[:, None]
        near, far = (seen(top + distance * outwards) for distance in (_STANDS_OFF, _BACKGROUND))
        if near is None or far is None:
            return None
        hair = _tone(near)
        behind = np.log((hair + 1) / (np.median(far, axis=0) + 1))
        dyed = hair[0] < _LEAST_RED * hair.max()
        if dyed or _is_skin(hair, bare) or np.abs(behind).max() < _LIKE_BACKGROUND:
            return None
    return hair.astype(np.uint8)


def _tone(colors: Float32) -> Float32:
    """(3,) what hair of colors (n, 3) looks like in the shade."""
    brightness = colors.mean(axis=1)
    low, high = np.quantile(brightness, _HAIR_TONES)
    tones = colors[(brightness >= low) & (brightness <= high)]
    return np.asarray(np.median(tones, axis=0), np.float32)


def _is_skin(color: Float32, skin: Float32) -> bool:
    ratio = np.log((color + 1) / (skin + 1))
    return bool(abs(ratio.mean()) < _LIKE_SKIN[0] and np.ptp(ratio) < _LIKE_SKIN[1])


class HeadTextures:
    """Makes textures of whole heads; thread safe."""

    def __init__(self, model: MorphableModel, heads: Heads) -> None:
        self._model = model
        self._heads = heads
        self._baker = TextureBaker(replace(model, uv=heads.rig.face_uv))
        self._triangles = np.array(heads.rig.triangles["high"])
        self._layouts: dict[int, _Layout] = {}
        self._lock = threading.Lock()

    def bake(
        self,
        views: Sequence[TextureView],
        albedo: Float32,
        size: int,
        hair_u8: RgbU8 | None = None,
    ) -> RgbU8:
        """A texture (size, size, 3) of one person's head.

        views, albedo, size: as `TextureBaker.bake` takes them.
        hair_u8: (3,) what the scalp is tinted with; without it its skin is bare.
        """
        heads, rig = self._heads, self._heads.rig
        baked = self._baker.bake(views, albedo, size)
        layout = self._layout(size)
        places = rig.face_uv * size
        columns = np.clip(places[:, 0].astype(np.intp), 0, size - 1)
        rows = np.clip((size - places[:, 1]).astype(np.intp), 0, size - 1)
        seen = baked.rgb_u8[rows, columns] / np.float32(255)
        anchors = even_outline(rig.outline_colors(seen[rig.band_vertices]))

        exposure = self._exposure(seen, albedo)
        colors = np.clip(heads.inner_colors(albedo) * exposure, 0, 1)
        colors = np.where(heads.on_skin[:, None], heads.beyond(anchors), colors)

        image = np.zeros((size, size, 3), np.float32)
        spread_over_texels(
            layout.triangle_ids,
            layout.barycentric,
            self._triangles,
            np.float32(255) * colors.astype(np.float32),
            image,
        )
        if hair_u8 is None:
            hair, cover = np.zeros(3, np.float32), np.zeros_like(layout.hair_cover)
        else:
            hair, cover = hair_u8.astype(np.float32), layout.hair_cover
        _compose(image, layout.grain, cover, layout.strands, hair, layout.face, baked.rgb_u8)
        flat = image.reshape(-1, 3)
        texels, teeth = layout.teeth
        flat[texels] = 255 * teeth * exposure
        image[layout.lashes] = 255 * LASHES * exposure
        texels, degrees, fibers = layout.eyes
        iris = self._iris(baked.rgb_u8, baked.coverage, layout, albedo)
        eyes = heads.eye_colors(albedo * np.minimum(exposure, _BRIGHT_EYES), iris)
        flat[texels] = 255 * eyes[degrees] * fibers
        result = np.empty((size, size, 3), np.uint8)
        _finish(image, layout.nearest, result)
        return result

    def _exposure(self, seen: Float32, albedo: Float32) -> Float32:
        """(3,): the photo's light by what it makes of the skin, colors (V, 3) seen and as such."""
        skin = self._model.skin_region
        ratio = np.median(seen[skin], axis=0) / np.maximum(np.median(albedo[skin], axis=0), 1e-3)
        level = max(float(ratio.mean()), 1e-3)
        return np.asarray(np.clip(level, *_EXPOSURE) * (ratio / level) ** _TINTED, np.float32)

    def _iris(
        self, rgb_u8: RgbU8, coverage: Float32, layout: _Layout, albedo: Float32
    ) -> Float32 | None:
        """(3,) the iris' color in the photo and in the albedo; None where no photo shows it."""
        texels, degrees, _ = layout.eyes
        ring = (degrees > _IRIS_DEGREES[0]) & (degrees < _IRIS_DEGREES[1])
        shown = texels[ring][coverage.ravel()[texels[ring]] > 0.5]
        if len(shown) < 20:
            return None
        seen = np.median(rgb_u8.reshape(-1, 3)[shown], axis=0) / 255
        degree = round(sum(_IRIS_DEGREES) / 2)
        own = self._heads.eye_colors(albedo)[degree]
        return np.asarray(own + _IRIS_FROM_PHOTO * (seen - own), np.float32)

    def _layout(self, size: int) -> _Layout:
        with self._lock:
            if size not in self._layouts:
                self._layouts[size] = self._lay_out(size)
            return self._layouts[size]

    def _lay_out(self, size: int) -> _Layout:
        heads, rig = self._heads, self._heads.rig
        flat = np.ones((len(rig.uv), 3), np.float32)
        flat[:, 0] = rig.uv[:, 0] * size
        flat[:, 1] = (1.0 - rig.uv[:, 1]) * size
        # The triangles at an eyeball's back pole lie face down across its disc.
        u, v = (flat[self._triangles, axis] for axis in (0, 1))
        turn = (u[:, 1] - u[:, 0]) * (v[:, 2] - v[:, 0]) - (u[:, 2] - u[:, 0]) * (v[:, 1] - v[:, 0])
        upright = np.flatnonzero(turn < 0)
        fragments = rasterize(flat[None], self._triangles[upright], size, size)
        ids = fragments.triangle_ids[0]
        ids = np.where(ids == EMPTY, EMPTY, upright[ids]).astype(np.int32)
        barycentric = np.ascontiguousarray(fragments.barycentric[0, ..., :2])

        def spread(values: Float32) -> Float32:
            """(N * N, 3) of values (V, 3)."""
            image = np.zeros((size, size, 3), np.float32)
            values = np.ascontiguousarray(values, np.float32)
            spread_over_texels(ids, barycentric, self._triangles, values, image)
            return image.reshape(-1, 3)

        lashes = self._lashes(size)
        nearest = _nearest(ids)
        nearest[lashes] = np.arange(size * size).reshape(size, size)[lashes]
        face, scalp, sky = spread(
            np.stack([rig.region("face") * heads.on_skin, rig.region("scalp"), rig.occlusion], 1)
        ).T
        return _Layout(
            ids,
            barycentric,
            face.reshape(size, size).copy(),
            self._eyes(ids, spread),
            self._teeth(ids, spread),
            lashes,
            1 + _SKIN_GRAIN * _noise(size),
            *self._hair(scalp.reshape(size, size), sky.reshape(size, size), spread),
            nearest,
        )

    def _eyes(
        self, ids: NDArray[np.int32], spread: Spread
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], Float32]:
        heads, rig = self._heads, self._heads.rig
        found, degrees, fibers = [], [], []
        for part in ("left_eye", "right_eye"):
            rows = np.unique(rig.level("high").part(part))
            texels = np.flatnonzero(self._of_parts(ids, part))
            middle = rig.uv[rows[heads.eye_angle[rows].argmin()]]
            table = np.concatenate([heads.eye_angle[:, None], rig.uv - middle], axis=1)
            angle, across, up = spread(table)[texels].T
            iris = (angle > PUPIL) & (angle < IRIS)
            found.append(texels)
            degrees.append(np.clip(angle, 0, 179).astype(np.intp))
            fibers.append(1 + _IRIS_GRAIN * iris * _strands(np.arctan2(across, up), angle, _FIBERS))
        factors = np.concatenate(fibers)[:, None].astype(np.float32)
        return np.concatenate(found), np.concatenate(degrees), factors

    def _teeth(self, ids: NDArray[np.int32], spread: Spread) -> tuple[NDArray[np.intp], Float32]:
        found, colors = [], []
        for row, (rows, places) in self._heads.tooth_places.items():
            table = np.zeros((len(self._heads.rig.uv), 3), np.float32)
            table[rows] = places.table
            texels = np.flatnonzero(self._of_parts(ids, row))
            found.append(texels)
            own = ToothPlaces(*spread(table)[texels].T.astype(np.float64))
            colors.append(own.colors(row, gaps=True))
        return np.concatenate(found), np.concatenate(colors)

    def _lashes(self, size: int) -> tuple[slice, slice]:
        rig = self._heads.rig
        u, v = rig.uv[rig.level("high").part("lashes")[0, 0]]
        across, down = (
            slice(int((at - _LASHES_HALF) * size), int((at + _LASHES_HALF) * size) + 1)
            for at in (u, 1 - v)
        )
        return down, across

    def _hair(self, scalp: Float32, sky: Float32, spread: Spread) -> tuple[Float32, Float32]:
        heads = self._heads
        texels = np.flatnonzero(scalp > 0)
        points = heads.mean_points
        middle = points[heads.on_skin & (heads.rig.region("scalp") > 0.9)].mean(axis=0)
        offset = spread(points - middle)[texels].astype(np.float64)
        distance = np.linalg.norm(offset, axis=1)
        down = np.arccos(np.clip(offset @ _CROWN / distance, -1, 1))
        around = np.arctan2(offset[:, 0], offset @ np.cross(_CROWN, [1, 0, 0]))
        strands = _strands(around + _WHORL * down, down * distance, _STRANDS)
        share, sky = scalp.ravel()[texels], sky.ravel()[texels]
        cover, factors = np.zeros_like(scalp), np.ones_like(scalp)
        ragged = np.clip(share + _HAIRLINE * 2 * share * (1 - share) * strands, 0, 1)
        cover.ravel()[texels] = _HAIR_COVERS * ragged
        factors.ravel()[texels] = np.maximum(1 + _HAIR_GRAIN * strands, 0.3) * (0.6 + 0.4 * sky)
        return cover, factors

    def _of_parts(self, ids: NDArray[np.int32], part: str) -> NDArray[np.bool_]:
        """(N, N) whether a texel lies on a part of the head."""
        ends = self._heads.rig.part_ends["high"]
        index = PARTS.index(part)
        return (ids >= ends[index - 1]) & (ids < ends[index])


@kernel
def _compose(
    image: Float32,
    grain: Float32,
    cover: Float32,
    strands: Float32,
    hair: Float32,
    face: Float32,
    baked: RgbU8,
) -> None:
    """Put grain, hair of a color (3,) and the baked face onto bare skin (N, N, 3), in place."""
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            covers, shows = cover[row, column], face[row, column]
            for channel in range(3):
                value = image[row, column, channel] * grain[row, column]
                value += covers * (hair[channel] * strands[row, column] - value)
                value += shows * (np.float32(baked[row, column, channel]) - value)
                image[row, column, channel] = value


@kernel
def _finish(image: Float32, nearest: NDArray[np.int32], result: RgbU8) -> None:
    """An image (N, N, 3) as bytes, each texel from its nearest one within an island."""
    size = image.shape[1]
    for row in range(size):
        for column in range(size):
            at = nearest[row, column]
            for channel in range(3):
                value = image[at // size, at % size, channel]
                value = min(max(value, np.float32(0.0)), np.float32(255.0))
                result[row, column, channel] = np.uint8(value + np.float32(0.5))


def _strands(
    around: NDArray[Any], along: NDArray[Any], octaves: Sequence[tuple[int, float]]
) -> Float32:
    """(n,) noise of unit variance that is long in one direction, the same every time.

    around: (n,) radians. along: (n,), with the length of a grain in each octave.
    """
    rng = np.random.default_rng(23)
    result = np.zeros(len(around), np.float32)
    for count, length in octaves:
        noise = rng.standard_normal((64, count)).astype(np.float32)
        across = (around / (2 * np.pi) % 1 * count).astype(np.float32)
        down = (along / length % 64).astype(np.float32)
        # More than 32767 values in one row are too many for OpenCV.
        rows = [
            cv2.remap(noise, a[None], d[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)[0]
            for a, d in zip(
                np.array_split(across, len(across) // 30000 + 1),
                np.array_split(down, len(down) // 30000 + 1),
                strict=True,
            )
        ]
        values = np.concatenate(rows)
        result += values / values.std()
    return np.asarray(result / result.std(), np.float32)


def _noise(size: int) -> Float32:
    """(N, N) of unit variance, the same every time, in fine and in coarser grains."""
    rng = np.random.default_rng(17)
    result = np.zeros((size, size), np.float32)
    for share in (1 / 700, 1 / 250, 1 / 110):
        fine = rng.standard_normal((size, size)).astype(np.float32)
        blurred = cv2.GaussianBlur(fine, (0, 0), max(share * size, 0.5))
        result += blurred / blurred.std()
    return result / result.std()


def _nearest(ids: NDArray[np.int32]) -> NDArray[np.int32]:
    """(N, N) flat indices of the nearest texels whose triangle (N, N) is not EMPTY."""
    empty = (ids == EMPTY).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(
        empty, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    within = np.flatnonzero(empty == 0)
    owner = np.empty(int(labels.max()) + 1, np.int32)
    owner[labels.ravel()[within]] = within
    return owner[labels]
