"""Baking a texture from any number of photographs.

Each texel takes the color that its point of the face has in the photos, weighted by the viewing
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
from facewright.models.texture.agreement import agree
from facewright.models.texture.atlas import Atlas, build_atlas, islands_of_triangles
from facewright.models.texture.completion import Completer
from facewright.models.texture.grids import GRID, log_color
from facewright.models.texture.views import (
    Surface,
    TextureView,
    add_views,
    prepare_view,
)

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
    coverage_u8: NDArray[np.uint8]
    """(N, N): 255 times `coverage`."""

    @property
    def coverage(self) -> NDArray[np.float32]:
        """(N, N) in [0, 1]: the photos' share in a texel; 0 where it was filled in."""
        return self.coverage_u8 * np.float32(1 / 255)


class _Coarse(NamedTuple):
    """What one view shows, over the cells of the grid."""

    colors: NDArray[np.uint8]
    """(G, G, 3)."""
    coverage: NDArray[np.float32]
    """(G, G) in [0, 1]."""
    weights: NDArray[np.float32]
    """(G, G)."""
    extent: float
    """Longer side of the face in px of the photo, 0 when the view shows none."""


class TextureBaker:
    """Bakes textures for one face model; thread safe.

    What only depends on the model is computed once per size and kept, some 16 bytes per texel.
    """

    def __init__(self, model: MorphableModel) -> None:
        self._model = model
        self._surface = Surface(model)
        self._islands = islands_of_triangles(model)
        self._layouts: dict[int, tuple[Atlas, Completer]] = {}
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

        Memory: 4 bytes per texel, and for each view at most some 16 bytes per texel and 3 MB.
        Raises ValueError for another size or another number of vertices.
        """
        if size not in TEXTURE_SIZES:
            raise ValueError(f"the size must be one of {TEXTURE_SIZES}, got {size}")
        if albedo.shape != (self._model.n_vertices, 3):
            raise ValueError(f"expected ({self._model.n_vertices}, 3) albedo, got {albedo.shape}")
        views = [view for view in views if view.weight > 0.0]
        trust, factors = self._corrections(views, size)
        atlas, completer = self._layout(size)
        colors = np.zeros((size, size, 3), np.uint8)
        coverage = np.zeros((size, size), np.uint8)
        covered = np.zeros(len(atlas.owners), np.bool_)
        shown = [prepare_view(self._surface, view, size) for view in views]
        if kept := [index for index, view in enumerate(shown) if view is not None]:
            covered = add_views(
                atlas,
                self._surface,
                [view for view in shown if view is not None],
                trust[kept],
                factors[kept],
                _SHARP,
                colors,
                coverage,
                np.empty((0, 0), np.float32),
            )
        scaled = np.ascontiguousarray(255.0 * albedo, np.float32)
        completer.complete(colors, coverage, covered, scaled)
        return BakedTexture(colors, coverage)

    def _layout(self, size: int) -> tuple[Atlas, Completer]:
        with self._lock:
            if size not in self._layouts:
                atlas = build_atlas(self._model, size)
                completer = Completer(atlas, self._surface.triangles, self._islands, self._model.uv)
                self._layouts[size] = atlas, completer
            return self._layouts[size]

    def _corrections(
        self, views: Sequence[TextureView], size: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Trust (K, g, g, 1) in each view's detail and factors (K, g, g, 3) of its colors."""
        own = np.array([view.weight for view in views], np.float32).reshape(-1, 1, 1, 1)
        if len(views) < 2:
            return own, np.ones((len(views), 1, 1, 3), np.float32)
        coarse = [self._coarse(view) for view in views]
        fineness = np.array([min(one.extent / size, 1.0) for one in coarse])
        weights = np.stack([one.weights for one in coarse])
        trust, factors = agree(
            np.stack([log_color(one.colors.astype(np.float32)) for one in coarse]),
            weights,
            np.stack([one.coverage for one in coarse]),
        )
        leading = np.argmax(fineness * (weights * trust).sum(axis=(1, 2)))
        trust[leading] *= np.float32(_LEAD)
        return trust[..., None] * own, factors

    def _coarse(self, view: TextureView) -> _Coarse:
        colors = np.zeros((GRID, GRID, 3), np.uint8)
        coverage = np.zeros((GRID, GRID), np.uint8)
        weights = np.zeros((GRID, GRID), np.float32)
        prepared = prepare_view(self._surface, view, GRID)
        if prepared is not None:
            trust = np.full((1, 1, 1, 1), view.weight, np.float32)
            even = np.ones((1, 1, 1, 3), np.float32)
            atlas = self._layout(GRID)[0]
            add_views(
                atlas,
                self._surface,
                [prepared],
                trust,
                even,
                _BROAD,
                colors,
                coverage,
                weights,
            )
        known = coverage * np.float32(1 / 255)
        return _Coarse(colors, known, weights, 0.0 if prepared is None else prepared.extent)
