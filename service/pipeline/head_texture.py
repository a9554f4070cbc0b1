"""One texture for the whole head: the photo's face, and what no photo of a face shows."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.morphable_model import MorphableModel
from facewright.models.rasterizer import EMPTY, rasterize
from facewright.models.texture.atlas import spread_over_texels
from facewright.models.texture.baking import TextureBaker
from facewright.models.texture.views import TextureView
from facewright.service.pipeline.heads import Heads, even_outline
from facewright.service.pipeline.reconstruction import Reconstruction

Float32 = NDArray[np.float32]
RgbU8 = NDArray[np.uint8]

# Teeth, tongue and eyes are lit as the skin is, within these limits.
_EXPOSURE = (0.45, 1.5)
_BRIGHT_EYES = 1.15
# Of the iris, what a photo shows of it is taken by this share.
_IRIS_FROM_PHOTO = 0.6
_IRIS_DEGREES = (12.0, 21.0)
# Standard deviation of the grain, as a share of the color.
_SKIN_GRAIN, _HAIR_GRAIN = np.float32(0.012), np.float32(0.09)
# Quantiles of brightness between which the hair's color lies: not its shine.
_HAIR_TONES = (0.15, 0.5)
# What differs less from the face's skin is no hair: mean of the logarithms of the channels' ratios,
# and their range.
_LIKE_SKIN = (0.25, 0.22)
# Share of the hair above the forehead that must lie within the photo.
_LEAST_SEEN = 0.3


@dataclass(frozen=True, eq=False)
class _Layout:
    """The texels of the head at one size."""

    triangle_ids: NDArray[np.int32]
    """(N, N); -1 beyond the islands."""
    barycentric: Float32
    """(N, N, 2)."""
    face: Float32
    """(N, N, 1) in [0, 1]: how far a texel is the baked face's."""
    eyes: tuple[NDArray[np.intp], NDArray[np.intp]]
    """Flat indices of the eyeballs' texels, and their degrees from the pupil's middle."""
    grain: Float32
    """(N, N, 1) of unit variance: what makes hair, and a little of it skin, less like paint."""
    scalp: Float32
    """(N, N, 1) in [0, 1]."""
    beyond: tuple[NDArray[np.intp], NDArray[np.intp]]
    """Flat indices of texels beyond the islands, and of the nearest within one."""


def hair_color(photo: RgbU8, face: Reconstruction, heads: Heads) -> RgbU8 | None:
    """(3,) what the photo (H, W, 3) shows right above the face.

    None where that is not in the photo, or is skin.
    """
    rows = heads.above_forehead
    cage = heads.cage(
        face.geometry.cage,
        face.geometry.identity,
        np.zeros(len(heads.rig.expression_extra), np.float32),
    )
    points = heads.rig.subdivision.take(rows).refine(cage[None])[0]
    pixels = face.project(points)
    height, width = photo.shape[:2]
    inside = (pixels[:, 2] > 1) & (pixels[:, :2] >= 0).all(axis=1)
    inside &= (pixels[:, 0] < width) & (pixels[:, 1] < height)
    if inside.sum() < _LEAST_SEEN * len(rows):
        return None
    columns, lines = pixels[inside, :2].astype(np.intp).T
    seen = photo[lines, columns].astype(np.float32)
    brightness = seen.mean(axis=1)
    low, high = np.quantile(brightness, _HAIR_TONES)
    tones = seen[(brightness >= low) & (brightness <= high)]
    hair = np.median(tones, axis=0)
    places = face.project(face.vertices[heads.skin_vertices])[:, :2]
    limits = np.array([width, height]) - 1
    columns, lines = np.clip(places, 0, limits).astype(np.intp).T
    ratio = np.log((hair + 1) / (np.median(photo[lines, columns], axis=0) + 1))
    is_skin = abs(ratio.mean()) < _LIKE_SKIN[0] and np.ptp(ratio) < _LIKE_SKIN[1]
    return None if is_skin else hair.astype(np.uint8)


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

        skin = self._model.skin_region
        light = np.median(seen[skin]) / max(float(np.median(albedo[skin])), 1e-3)
        exposure = np.float32(np.clip(light, *_EXPOSURE))
        colors = np.clip(heads.inner_colors(albedo) * exposure, 0, 1)
        hair = None if hair_u8 is None else hair_u8 / np.float32(255)
        beyond = heads.beyond(anchors, hair)
        colors = np.where(heads.on_skin[:, None], beyond, colors).astype(np.float32)

        image = np.zeros((size, size, 3), np.float32)
        spread_over_texels(
            layout.triangle_ids, layout.barycentric, self._triangles, 255 * colors, image
        )
        strength = _SKIN_GRAIN
        if hair is not None:
            strength = _SKIN_GRAIN + (_HAIR_GRAIN - _SKIN_GRAIN) * layout.scalp
        image *= 1 + strength * layout.grain
        image += layout.face * (baked.rgb_u8 - image)
        texels, degrees = layout.eyes
        iris = self._iris(baked.rgb_u8, baked.coverage, layout, albedo)
        eyes = heads.eye_colors(albedo * np.minimum(exposure, _BRIGHT_EYES), iris)
        image.reshape(-1, 3)[texels] = 255 * eyes[degrees]
        result = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
        flat = result.reshape(-1, 3)
        flat[layout.beyond[0]] = flat[layout.beyond[1]]
        return result

    def _iris(
        self, rgb_u8: RgbU8, coverage: Float32, layout: _Layout, albedo: Float32
    ) -> Float32 | None:
        """(3,) the iris' color in the photo and in the albedo; None where no photo shows it."""
        texels, degrees = layout.eyes
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
        own = np.stack(
            [rig.region("face") * heads.on_skin, heads.eye_angle, rig.region("scalp")], axis=1
        ).astype(np.float32)
        image = np.zeros((size, size, 3), np.float32)
        image[..., 1] = 180
        spread_over_texels(ids, barycentric, self._triangles, own, image)
        eyes = np.flatnonzero(image[..., 1] < 179.5)
        degrees = np.minimum(image[..., 1].ravel()[eyes], 179).astype(np.intp)
        return _Layout(
            ids,
            barycentric,
            image[..., :1].copy(),
            (eyes, degrees),
            _noise(size)[..., None],
            image[..., 2:].copy(),
            _beyond(ids),
        )


def _noise(size: int) -> Float32:
    """(N, N) of unit variance, the same every time, in fine and in coarser grains."""
    rng = np.random.default_rng(17)
    result = np.zeros((size, size), np.float32)
    for share in (1 / 700, 1 / 250, 1 / 110):
        fine = rng.standard_normal((size, size)).astype(np.float32)
        blurred = cv2.GaussianBlur(fine, (0, 0), max(share * size, 0.5))
        result += blurred / blurred.std()
    return result / result.std()


def _beyond(ids: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    empty = (ids == EMPTY).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(
        empty, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    within = np.flatnonzero(empty == 0)
    owner = np.empty(int(labels.max()) + 1, np.intp)
    owner[labels.ravel()[within]] = within
    outside = np.flatnonzero(empty)
    return outside, owner[labels.ravel()[outside]]
