"""Torch twin of `normals`: same name, shapes and weights, differentiable."""

from __future__ import annotations

import torch
from torch import Tensor


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Unit, area-weighted normals (N, V, 3) of vertices (N, V, 3) and triangles (T, 3).

    Vertices of no area get (0, 0, 1) and no gradient.
    """
    n, v, _ = vertices.shape
    # Vertex first: gathering and scattering whole rows is several times faster.
    rows = vertices.permute(1, 2, 0).reshape(v, 3 * n)
    corners = triangles.long().unbind(-1)
    a, b, c = (rows.index_select(0, corner).view(-1, 3, n) for corner in corners)
    areas = torch.linalg.cross(b - a, c - a, dim=1).view(-1, 3 * n)
    total = torch.zeros_like(rows)
    for corner in corners:
        total = total.index_add(0, corner, areas)
    total = total.view(v, 3, n).permute(2, 0, 1)
    squared = total.square().sum(dim=-1, keepdim=True)
    has_area = squared > 0
    forward = vertices.new_tensor([0.0, 0.0, 1.0])
    return torch.where(has_area, total * torch.where(has_area, squared, 1.0).rsqrt(), forward)
