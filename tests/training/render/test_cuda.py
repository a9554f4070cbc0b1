from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from facewright.models import rasterizer
from facewright.models.camera import CAMERA_DISTANCE
from facewright.models.camera_torch import project
from facewright.training.render import make_renderer
from facewright.training.render.cuda import _FAR, NvdiffrastRenderer, clip_positions
from facewright.training.render.interpolation import NEAR
from facewright.training.render.zbuffer import render_with_zbuffer


def test_clip_space_is_the_crop(posed: Tensor) -> None:
    clip = clip_positions(posed)
    assert (clip[..., 3] > 0).all()
    torch.testing.assert_close(112 * (1 + clip[..., :2] / clip[..., 3:]), project(posed))
    ends = torch.tensor([[[0, 0, CAMERA_DISTANCE - NEAR], [0, 0, CAMERA_DISTANCE - _FAR]]])
    clip = clip_positions(ends.double())
    torch.testing.assert_close(clip[0, :, 2] / clip[0, :, 3], torch.tensor([-1.0, 1.0]).double())


@pytest.mark.skipif(
    importlib.util.find_spec("nvdiffrast") is not None, reason="nvdiffrast is installed"
)
def test_without_nvdiffrast_the_cpu_steps_in() -> None:
    with pytest.warns(UserWarning, match="nvdiffrast"):
        assert make_renderer(torch.device("cuda")) is render_with_zbuffer


class StandIn(ModuleType):
    """What nvdiffrast documents of its rasterizer, done by the z-buffer on the CPU.

    The first row of a picture is the lowest in clip space; its channels are u, v, z / w and the
    number of the triangle plus one, with u and v the weights of the first two corners.
    """

    RasterizeCudaContext = staticmethod(lambda device: device)

    @staticmethod
    def rasterize(
        context: object, pos: Tensor, tri: Tensor, resolution: list[int], grad_db: bool
    ) -> tuple[Tensor, None]:
        assert pos.dtype == torch.float32
        assert tri.dtype == torch.int32
        assert pos.is_contiguous()
        assert tri.is_contiguous()
        height, width = resolution
        w = pos[..., 3]
        pixels = [(pos[..., k] / w + 1) * side / 2 for k, side in ((0, width), (1, height))]
        fragments = rasterizer.rasterize(
            torch.stack([*pixels, w], -1).numpy(), tri.numpy(), height, width
        )
        u, v, _ = torch.from_numpy(fragments.barycentric).unbind(-1)
        numbers = torch.from_numpy(fragments.triangle_ids) + 1.0
        return torch.stack([u, v, torch.zeros_like(u), numbers], -1), None


def test_understands_nvdiffrasts_output(
    triangles: Tensor, posed: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    package: Any = ModuleType("nvdiffrast")
    package.torch = StandIn("nvdiffrast.torch")
    monkeypatch.setitem(sys.modules, "nvdiffrast", package)
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", package.torch)
    renderer = NvdiffrastRenderer(torch.device("cpu"))
    posed = posed.float()
    found = renderer(posed, triangles, posed.cos(), 64)
    expected = render_with_zbuffer(posed, triangles, posed.cos(), 64)
    assert (found.mask != expected.mask).sum() <= 3  # rounding on silhouettes
    both = found.mask & expected.mask
    difference = (found.image - expected.image).abs().amax(1)[both]
    assert (difference > 1e-4).sum() <= 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_agrees_with_the_cpu(triangles: Tensor, posed: Tensor) -> None:
    pytest.importorskip("nvdiffrast")
    device = torch.device("cuda")
    renderer = make_renderer(device)
    assert isinstance(renderer, NvdiffrastRenderer)
    gradients, renderings = [], []
    for place, render in ((torch.device("cpu"), render_with_zbuffer), (device, renderer)):
        points = posed.float().to(place).requires_grad_()
        colors = posed.float().cos().to(place).requires_grad_()
        rendering = render(points, triangles.to(place), colors)
        (rendering.image.square().sum()).backward()
        assert points.grad is not None
        assert colors.grad is not None
        renderings.append(rendering)
        gradients.append((points.grad.cpu(), colors.grad.cpu()))
    cpu, cuda = renderings
    both = cpu.mask & cuda.mask.cpu()
    assert (cpu.mask ^ cuda.mask.cpu()).float().mean() < 2e-3  # pixels on silhouettes
    difference = (cpu.image - cuda.image.cpu()).abs().amax(1)[both]
    assert (difference > 1e-3).float().mean() < 2e-3
    for on_cpu, on_cuda in zip(*gradients, strict=True):
        assert (on_cpu - on_cuda).norm() < 0.05 * on_cpu.norm()
