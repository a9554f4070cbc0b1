"""The interface of renderers, and which one serves a device."""

from __future__ import annotations

import warnings
from typing import Protocol

import torch
from torch import Tensor

from facewright.models.camera import CROP_SIZE
from facewright.training.render.cuda import NvdiffrastRenderer
from facewright.training.render.interpolation import Rendering
from facewright.training.render.zbuffer import render_with_zbuffer


class Renderer(Protocol):
    """Draws posed meshes as the camera of `models.camera` sees them."""

    def __call__(
        self, posed_mm: Tensor, triangles: Tensor, attributes: Tensor, size: int = CROP_SIZE
    ) -> Rendering:
        """Draw N meshes that share their triangles.

        Which triangle a pixel sees is found by depth and has no gradient; the values drawn are
        differentiable with respect to `attributes` and `posed_mm`.

        Args:
            posed_mm: (N, V, 3) camera-aligned positions, mm.
            triangles: (T, 3) int64, counter-clockwise seen from outside.
            attributes: (N, V, C) values to interpolate, colors for instance.
            size: side of the picture in px; other sizes than 224 show the same view scaled.
        """
        ...


def make_renderer(device: torch.device) -> Renderer:
    """The fastest renderer there is for tensors on `device`.

    That is nvdiffrast on CUDA, and the z-buffer on the CPU elsewhere, or where nvdiffrast is not
    installed.
    """
    if device.type == "cuda":
        try:
            return NvdiffrastRenderer(device)
        except ImportError:
            warnings.warn(
                "nvdiffrast is not installed: the CPU finds out which triangles are seen",
                stacklevel=2,
            )
    return render_with_zbuffer
