"""One texture for the whole head: the photo's face, and what no photo of a face shows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from facewright.models.arrays import BoolArray, ByteArray, FloatArray, IndexArray, IntArray
from facewright.models.head_rig import PARTS
from facewright.models.jit import kernel
from facewright.models.morphable_model import MorphableModel
from facewright.models.rasterizer import EMPTY, rasterize
from facewright.models.texture.atlas import nearest_texels, spread_over_texels
from facewright.models.texture.baking import TextureBaker
from facewright.models.texture.views import TextureView
from facewright.service.pipeline.hairline import BALD_MM, Scalp, hair_cover, hair_shade
from facewright.service.pipeline.head_colors import IRIS, LASHES, PUPIL, HeadColors, lash_color
from facewright.service.pipeline.mouth_colors import ToothPlaces
from facewright.service.pipeline.strands import fibers, hairs

Spread = Callable[[FloatArray], FloatArray]
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
_SKIN_GRAIN, _IRIS_GRAIN = np.float32(0.012), np.float32(0.16)
# Strands: how many there are around the crown, and how long they are, mm.
_STRANDS = ((620, 12.0), (270, 26.0))
_FIBERS = ((70, 9.0), (31, 14.0))
# No hair lies further below the usual hairline, mm.
_LOWEST_HAIR = -60.0
_ZERO, _ONE, _FULL = np.float32(0.0), np.float32(1.0), np.float32(1 / 255)
# Where the lashes' color lies in the image, and half its side.
_LASHES_HALF = 0.008


@dataclass(frozen=True, eq=False)
class _Layout:
    """The texels of the head at one size."""

    triangle_ids: IntArray
    """(N, N); -1 beyond the islands."""
    barycentric: FloatArray
    """(N, N, 2)."""
    eyes: tuple[IndexArray, IndexArray, FloatArray]
    """Flat indices of the eyeballs' texels, their degrees from the pupil's middle, and factors
    (n, 1) of their color."""
    teeth: tuple[IndexArray, FloatArray]
    """Flat indices of texels, and their colors (n, 3)."""
    lashes: tuple[slice, slice]
    grain: FloatArray
    """(N, N) factors that make skin less like paint."""
    strands: FloatArray
    """(N, N) noise of single hairs; NaN where there never are any."""
    shade: FloatArray
    """(N, N) factors of the hair's color."""
    nearest: IntArray
    """(N, N) flat indices: a texel itself, or the nearest within an island."""


class HeadTextures:
    """Makes textures of whole heads; thread safe."""

    def __init__(self, model: MorphableModel, heads: HeadColors) -> None:
        self._model = model
        self._heads = heads
        self._baker = TextureBaker(replace(model, uv=heads.rig.face_uv))
        self._triangles = np.array(heads.rig.triangles["high"])
        self._layouts: dict[int, _Layout] = {}
        self._lock = threading.Lock()

    def bake(
        self, views: Sequence[TextureView], albedo: FloatArray, size: int, scalp: Scalp
    ) -> ByteArray:
        """A texture (size, size, 3) of one person's head.

        views, albedo, size: as `TextureBaker.bake` takes them.
        scalp: the person's hair as the views show it, its colors from 0 to 255.
        """
        heads, rig = self._heads, self._heads.rig
        baked = self._baker.bake(views, albedo, size)
        layout = self._layout(size)
        places = rig.face_uv * size
        columns = np.clip(places[:, 0].astype(np.intp), 0, size - 1)
        rows = np.clip((size - places[:, 1]).astype(np.intp), 0, size - 1)
        seen = baked.rgb_u8[rows, columns] / np.float32(255)
        shown = baked.coverage_u8[rows, columns] / np.float32(255)
        hair = None if scalp.hair is None else scalp.hair / np.float32(255)
        skin = heads.skin_color(seen)
        outline = heads.outline.read(seen, shown, skin, hair)

        exposure = self._exposure(skin, heads.skin_color(albedo))
        colors = np.clip(heads.inner_colors(albedo) * exposure, 0, 1)
        colors = np.where(heads.on_skin[:, None], heads.beyond(outline.skin), colors)

        shows, beside = heads.around(outline)
        if scalp.hair is None:
            heights = np.full(len(colors), -BALD_MM, np.float32)
        else:
            heights = heads.hair_heights(scalp.receding, beside)
        image = np.empty((size, size, 3), np.float32)
        _compose(
            np.float32(255) * colors.astype(np.float32),
            layout.triangle_ids,
            layout.barycentric,
            self._triangles,
            np.stack([heights, shows], axis=1),
            layout.grain,
            layout.strands,
            layout.shade,
            np.zeros(3, np.float32) if scalp.hair is None else scalp.hair,
            baked.rgb_u8,
            baked.coverage_u8,
            image,
        )
        flat = image.reshape(-1, 3)
        texels, teeth = layout.teeth
        flat[texels] = 255 * teeth * exposure
        lashes = LASHES * exposure if hair is None else lash_color(hair / exposure) * exposure
        image[layout.lashes] = 255 * lashes
        texels, degrees, fibers = layout.eyes
        iris = self._iris(baked.rgb_u8, baked.coverage, layout, albedo)
        eyes = heads.eye_colors(albedo * np.minimum(exposure, _BRIGHT_EYES), iris)
        flat[texels] = 255 * eyes[degrees] * fibers
        result = np.empty((size, size, 3), np.uint8)
        _finish(image, layout.nearest, result)
        return result

    def _exposure(self, seen: FloatArray, own: FloatArray) -> FloatArray:
        """(3,): the photo's light by what it makes of the skin, (3,) seen and as such."""
        ratio = seen / np.maximum(own, 1e-3)
        level = max(float(ratio.mean()), 1e-3)
        return np.asarray(np.clip(level, *_EXPOSURE) * (ratio / level) ** _TINTED, np.float32)

    def _iris(
        self, rgb_u8: ByteArray, coverage: FloatArray, layout: _Layout, albedo: FloatArray
    ) -> FloatArray | None:
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
        rig = self._heads.rig
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

        def spread(values: FloatArray) -> FloatArray:
            """(N * N, 3) of values (V, 3)."""
            image = np.zeros((size, size, 3), np.float32)
            values = np.ascontiguousarray(values, np.float32)
            spread_over_texels(ids, barycentric, self._triangles, values, image)
            return image.reshape(-1, 3)

        lashes = self._lashes(size)
        nearest = nearest_texels(ids)
        nearest[lashes] = np.arange(size * size).reshape(size, size)[lashes]
        return _Layout(
            ids,
            barycentric,
            self._eyes(ids, spread),
            self._teeth(ids, spread),
            lashes,
            1 + _SKIN_GRAIN * _noise(size),
            *self._hair(spread, size),
            nearest,
        )

    def _eyes(self, ids: IntArray, spread: Spread) -> tuple[IndexArray, IndexArray, FloatArray]:
        heads, rig = self._heads, self._heads.rig
        found, degrees, factors = [], [], []
        for part in ("left_eye", "right_eye"):
            rows = np.unique(rig.level("high").part(part))
            texels = np.flatnonzero(self._of_parts(ids, part))
            middle = rig.uv[rows[heads.eye_angle[rows].argmin()]]
            table = np.concatenate([heads.eye_angle[:, None], rig.uv - middle], axis=1)
            angle, across, up = spread(table)[texels].T
            iris = (angle > PUPIL) & (angle < IRIS)
            found.append(texels)
            degrees.append(np.clip(angle, 0, 179).astype(np.intp))
            factors.append(1 + _IRIS_GRAIN * iris * fibers(np.arctan2(across, up), angle, _FIBERS))
        flat = np.concatenate(factors)[:, None].astype(np.float32)
        return np.concatenate(found), np.concatenate(degrees), flat

    def _teeth(self, ids: IntArray, spread: Spread) -> tuple[IndexArray, FloatArray]:
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

    def _hair(self, spread: Spread, size: int) -> tuple[FloatArray, FloatArray]:
        heads = self._heads
        heights, sky, skin = spread(
            np.stack([heads.hair_heights(0), heads.rig.occlusion, heads.on_skin], axis=1)
        ).T
        texels = np.flatnonzero((skin > 0) & (heights > _LOWEST_HAIR))
        noise, shade = np.full(size * size, np.nan, np.float32), np.ones(size * size, np.float32)
        offsets = spread(heads.mean_points - heads.scalp_middle)[texels]
        noise[texels] = hairs(offsets, _STRANDS)
        shade[texels] = hair_shade(noise[texels], sky[texels])
        return noise.reshape(size, size), shade.reshape(size, size)

    def _of_parts(self, ids: IntArray, part: str) -> BoolArray:
        """(N, N) whether a texel lies on a part of the head."""
        ends = self._heads.rig.part_ends["high"]
        index = PARTS.index(part)
        return (ids >= ends[index - 1]) & (ids < ends[index])


@kernel
def _compose(
    colors: FloatArray,
    ids: IntArray,
    barycentric: FloatArray,
    triangles: IntArray,
    fields: FloatArray,
    grain: FloatArray,
    strands: FloatArray,
    shade: FloatArray,
    hair: FloatArray,
    baked: ByteArray,
    coverage: ByteArray,
    image: FloatArray,
) -> None:
    """Paint texels (N, N, 3): the vertices' colors with grain, the baked face, and hair on top.

    Hair lies over what the photo does not show.

    colors: (V, 3), 0 to 255.
    fields: (V, 2), mm above where hair begins, and how far a vertex is the baked face's.
    hair: (3,) its color.
    """
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            triangle = ids[row, column]
            if triangle == EMPTY:
                continue
            a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
            first, second = barycentric[row, column, 0], barycentric[row, column, 1]
            third = _ONE - first - second
            shows = first * fields[a, 1] + second * fields[b, 1] + third * fields[c, 1]
            covers = _ZERO
            if not np.isnan(strands[row, column]):
                height = first * fields[a, 0] + second * fields[b, 0] + third * fields[c, 0]
                covers = hair_cover(height, strands[row, column])
                covers *= _ONE - shows * np.float32(coverage[row, column]) * _FULL
            for channel in range(3):
                value = (
                    first * colors[a, channel]
                    + second * colors[b, channel]
                    + third * colors[c, channel]
                )
                value *= grain[row, column]
                value += shows * (np.float32(baked[row, column, channel]) - value)
                value += covers * (hair[channel] * shade[row, column] - value)
                image[row, column, channel] = value


@kernel
def _finish(image: FloatArray, nearest: IntArray, result: ByteArray) -> None:
    """An image (N, N, 3) as bytes, each texel from its nearest one within an island."""
    size = image.shape[1]
    for row in range(size):
        for column in range(size):
            at = nearest[row, column]
            for channel in range(3):
                value = image[at // size, at % size, channel]
                value = min(max(value, np.float32(0.0)), np.float32(255.0))
                result[row, column, channel] = np.uint8(value + np.float32(0.5))


def _noise(size: int) -> FloatArray:
    """(N, N) of unit variance, the same every time, in fine and in coarser grains."""
    rng = np.random.default_rng(17)
    result = np.zeros((size, size), np.float32)
    for share in (1 / 700, 1 / 250, 1 / 110):
        fine = rng.standard_normal((size, size)).astype(np.float32)
        blurred = cv2.GaussianBlur(fine, (0, 0), max(share * size, 0.5))
        result += blurred / blurred.std()
    return result / result.std()
