"""The renderer for machines without CUDA: visibility from the z-buffer of `models.rasterizer`."""

from __future__ import annotations

import torch
from torch import Tensor

from facewright.models import rasterizer
from facewright.models.camera import CROP_SIZE
from facewright.models.camera_torch import depth, project
from facewright.training.render.interpolation import NEAR, Rendering, Visibility, interpolate


def render_with_zbuffer(
    posed_mm: Tensor, triangles: Tensor, attributes: Tensor, size: int = CROP_SIZE
) -> Rendering:
    """See `training.render.renderer.Renderer`.

    Tensors may live on any device; visibility is found on the CPU.  A mesh with points that are
    not finite is drawn without the triangles they belong to.
    """
    with torch.no_grad():
        points = torch.cat(
            [project(posed_mm) * (size / CROP_SIZE), depth(posed_mm)[..., None]], dim=-1
        )
    fragments = rasterizer.rasterize(
        points.cpu().numpy(), triangles.cpu().numpy(), size, size, near=NEAR
    )
    visibility = Visibility(
        torch.from_numpy(fragments.triangle_ids).to(posed_mm.device),
        torch.from_numpy(fragments.barycentric).to(posed_mm.device),
    )
    return interpolate(posed_mm, triangles, attributes, visibility)
