"""Baking a texture from any number of photographs.

Each texel takes the colour that its point of the face has in the photos, weighted by the viewing
angle, by the distance from outlines, and by the views' own weights.  Several views are joined in
two bands, as Baumberg 2002 ("Blending images for texturing 3D models") does: light and exposure,
which differ between photos, are averaged over all views, robustly, and the detail comes mostly
from one view, so that eyes and mouth are those of one moment, and elsewhere from the view that
sees a place best.  What no view shows is filled from the other half of the
face, and then from the face model's albedo, each tinted to fit without a seam.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facewright.models.morphable_model import MorphableModel
from facewright.models.rasterizer import EMPTY
from facewright.models.texture.agreement import agree
from facewright.models.texture.atlas import Atlas, build_atlas, eyeball_triangles
from facewright.models.texture.completion import (
    complete,
    divide,
    mirrored,
    round_colours,
    spread_over_texels,
)
from facewright.models.texture.grids import GRID, log_colour
from facewright.models.texture.views import TextureView, add_view, prepare_view

TEXTURE_SIZES = (256, 512, 1024, 2048)
"""Sides of a texture, in texels."""
DEFAULT_TEXTURE_SIZE = 1024

# Exponents of the viewing angle's cosine: light from all views, detail from the best.
_BROAD, _SHARP = 1, 6
# How much more the leading view's detail counts.
_LEAD = 10.0


class BakedTexture(NamedTuple):
    """A texture and where it comes from."""

    rgb_u8: NDArray[np.uint8]
    """(N, N, 3), display-referred sRGB, first row at v = 1; filled beyond the islands as well."""
    coverage: NDArray[np.float32]
    """(N, N) in [0, 1]: the photos' share in a texel; 0 where it was filled in."""


class _Sums:
    """What views add up to, over N x N texels."""

    def __init__(self, size: int) -> None:
        self.colours = np.zeros((size, size, 3), np.float32)
        self.weights = np.zeros((size, size), np.float32)
        self.coverage = np.zeros((size, size), np.float32)


class TextureBaker:
    """Bakes textures for one face model; thread safe.

    What only depends on the model is computed once per size and kept, some 20 bytes per texel.
    """

    def __init__(self, model: MorphableModel) -> None:
        self._model = model
        # Kernels take arrays in one form only, and the model's own are frozen.
        self._triangles = np.array(model.triangles)
        self._eyeball = eyeball_triangles(model)
        self._atlases: dict[int, tuple[Atlas, NDArray[np.int8]]] = {}
        self._lock = threading.Lock()

    def bake(
        self,
        views: Sequence[TextureView],
        albedo: NDArray[np.float32],
        size: int = DEFAULT_TEXTURE_SIZE,
    ) -> BakedTexture:
        """Bake a texture of one person.

        views: photos with the face as it lies in each; their order makes no difference but for
            rounding.  Without any that shows the face the texture is the albedo.
        albedo: (V, 3) sRGB in [0, 1], the source for what no view shows.
        size: one of `TEXTURE_SIZES`.

        Memory: some 45 bytes per texel, and about 1 MB per view when there are several.
        Raises ValueError for another size or another number of vertices.
        """
        if size not in TEXTURE_SIZES:
            raise ValueError(f"the size must be one of {TEXTURE_SIZES}, got {size}")
        if albedo.shape != (self._model.n_vertices, 3):
            raise ValueError(f"expected ({self._model.n_vertices}, 3) albedo, got {albedo.shape}")
        views = [view for view in views if view.weight > 0.0]
        texture = _Sums(size)
        for view, (trust, factors) in zip(views, self._corrections(views, size), strict=True):
            self._add(texture, view, trust, factors, _SHARP)
        divide(texture.colours, texture.weights)
        coverage = texture.coverage.copy()
        self._fill(texture, np.asarray(albedo, np.float32))

        rgb_u8 = np.empty(texture.colours.shape, np.uint8)
        round_colours(texture.colours, rgb_u8)
        flat = rgb_u8.reshape(-1, 3)
        within, beyond = self._atlas(size)[0].padding[::-1]
        flat[beyond] = flat[within]
        return BakedTexture(rgb_u8, coverage)

    def _atlas(self, size: int) -> tuple[Atlas, NDArray[np.int8]]:
        """The layout, and which of the islands (face 0, eyeballs 1) each texel belongs to."""
        with self._lock:
            if size not in self._atlases:
                atlas = build_atlas(self._model, size)
                islands = self._eyeball[atlas.triangle_ids].astype(np.int8)
                islands[atlas.triangle_ids == EMPTY] = -1
                self._atlases[size] = atlas, islands
            return self._atlases[size]

    def _add(
        self,
        sums: _Sums,
        view: TextureView,
        trust: NDArray[np.float32],
        factors: NDArray[np.float32],
        sharpness: int,
    ) -> float:
        """Add a view; returns the longer side of its face in px, 0 when it shows none."""
        size = len(sums.weights)
        prepared = prepare_view(self._model, view, size)
        if prepared is None:
            return 0.0
        add_view(
            self._atlas(size)[0],
            self._triangles,
            prepared,
            trust * np.float32(view.weight),
            factors,
            sharpness,
            sums.colours,
            sums.weights,
            sums.coverage,
        )
        return prepared.extent

    def _corrections(
        self, views: Sequence[TextureView], size: int
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Trust (g, g, 1) in each view's detail and factors (g, g, 3) of its colours."""
        plain = np.ones((1, 1, 1), np.float32), np.ones((1, 1, 3), np.float32)
        if len(views) < 2:
            return [plain] * len(views)
        coarse = [_Sums(GRID) for _ in views]
        fineness = np.array(
            [
                min(self._add(sums, view, *plain, _BROAD) / size, 1.0)
                for sums, view in zip(coarse, views, strict=True)
            ]
        )
        for sums in coarse:
            divide(sums.colours, sums.weights)
        weights = np.stack([sums.weights for sums in coarse])
        trust, factors = agree(
            np.stack([log_colour(sums.colours) for sums in coarse]),
            weights,
            np.stack([sums.coverage for sums in coarse]),
        )
        leading = np.argmax(fineness * (weights * trust).sum(axis=(1, 2)))
        trust[leading] *= np.float32(_LEAD)
        return list(zip(trust[..., None], factors, strict=True))

    def _fill(self, texture: _Sums, albedo: NDArray[np.float32]) -> None:
        atlas, islands = self._atlas(len(texture.weights))
        source = np.zeros_like(texture.colours)
        source_coverage = np.zeros_like(texture.coverage)
        mirrored(atlas.mirror, texture.colours, texture.coverage, source, source_coverage)
        complete(texture.colours, texture.coverage, source, source_coverage, islands)
        spread_over_texels(
            atlas.triangle_ids, atlas.barycentric, self._triangles, 255.0 * albedo, source
        )
        source_coverage[:] = 1.0
        complete(texture.colours, texture.coverage, source, source_coverage, islands)
