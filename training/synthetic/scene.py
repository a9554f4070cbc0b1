"""What stands in front of the camera: the head and everything on it as one mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facewright.models.arrays import FloatArray, IntArray
from facewright.models.normals import vertex_normals
from facewright.training.appearance.surface import Surface
from facewright.training.synthetic.props import PROP, Prop


@dataclass(frozen=True, eq=False)
class Geometry:
    """A head and props in camera axes (+z towards the camera), mm.

    Attributes:
        vertices, normals: (V, 3) float32; the head's vertices come first.
        triangles: (T, 3) int32; triangle_parts: (T,) uint8 part codes; face: (T,) bool, triangles
            of the face model's skin.
        parts: (V,) uint8 part codes of `training.appearance.surface`, or PROP.
        relative: (V, 3) reference mm, the place in patterns and grain.
        occlusion: (V,) visible part of the sky; reflectance: (V, 3) linear; gloss: (V,);
            cloth: (V,) as of `training.synthetic.clothing.Garments`; hair: (V,) in [0, 1], how
            much of the color is painted hair; 1 of props that are hair.
    """

    vertices: FloatArray
    normals: FloatArray
    triangles: IntArray
    triangle_parts: NDArray[np.uint8]
    face: NDArray[np.bool_]
    parts: NDArray[np.uint8]
    relative: FloatArray
    occlusion: FloatArray
    reflectance: FloatArray
    gloss: FloatArray
    cloth: FloatArray
    hair: FloatArray

    @classmethod
    def of_head(
        cls,
        surface: Surface,
        triangle_parts: NDArray[np.uint8],
        face: NDArray[np.bool_],
        vertices: FloatArray,
        reflectance: FloatArray,
        gloss: FloatArray,
        cloth: FloatArray,
        hair: FloatArray,
    ) -> Geometry:
        """The head alone: static parts from its surface, the rest per portrait."""
        return cls(
            vertices=vertices,
            normals=vertex_normals(vertices[None], surface.triangles)[0],
            triangles=surface.triangles,
            triangle_parts=triangle_parts,
            face=face,
            parts=surface.parts,
            relative=surface.relative,
            occlusion=surface.occlusion,
            reflectance=reflectance,
            gloss=gloss,
            cloth=cloth,
            hair=hair,
        )

    def with_props(self, props: Sequence[Prop]) -> Geometry:
        """The same with props in camera axes added."""
        if not props:
            return self
        starts = np.cumsum([0, *(len(p.vertices) for p in props)])
        vertices = np.concatenate([p.vertices for p in props]).astype(np.float32)
        own = np.concatenate(
            [p.triangles + np.int32(s) for p, s in zip(props, starts[:-1], strict=True)]
        ).astype(np.int32)
        count, faces = len(vertices), len(own)
        gloss = np.concatenate([np.full(len(p.vertices), p.gloss, np.float32) for p in props])
        return Geometry(
            vertices=np.concatenate([self.vertices, vertices]),
            normals=np.concatenate([self.normals, vertex_normals(vertices[None], own)[0]]),
            triangles=np.concatenate([self.triangles, own + np.int32(len(self.vertices))]),
            triangle_parts=np.concatenate([self.triangle_parts, np.full(faces, PROP, np.uint8)]),
            face=np.concatenate([self.face, np.zeros(faces, bool)]),
            parts=np.concatenate([self.parts, np.full(count, PROP, np.uint8)]),
            relative=np.concatenate([self.relative, vertices]),
            occlusion=np.concatenate([self.occlusion, np.full(count, 0.9, np.float32)]),
            reflectance=np.concatenate([self.reflectance, *(p.colors for p in props)]).astype(
                np.float32
            ),
            gloss=np.concatenate([self.gloss, gloss]),
            cloth=np.concatenate([self.cloth, np.zeros(count, np.float32)]),
            hair=np.concatenate(
                [self.hair, *(np.full(len(p.vertices), p.hair, np.float32) for p in props)]
            ),
        )
