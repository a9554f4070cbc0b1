"""Differentiable rendering of posed meshes, behind one interface for every device."""

from facewright.training.render.interpolation import Rendering
from facewright.training.render.renderer import Renderer, make_renderer

__all__ = ["Renderer", "Rendering", "make_renderer"]
