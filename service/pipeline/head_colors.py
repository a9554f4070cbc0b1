"""What a whole head of a face model looks like: skin, hair, eyes and the inside of the mouth."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from facewright.models.arrays import BoolArray, DoubleArray, FloatArray, IndexArray
from facewright.models.head_rig import JOINTS, HeadRig
from facewright.models.morphable_model import PART_EYEBALL, MorphableModel
from facewright.models.normals import vertex_normals
from facewright.service.pipeline.hairline import (
    BALD_MM,
    Scalp,
    ScalpPlaces,
    above_hairline,
    hair_covers,
    hair_of_brows,
    hair_shade,
)
from facewright.service.pipeline.mouth_colors import ToothPlaces, mouth_light, tongue_colors
from facewright.service.pipeline.outline import Outline, OutlineReader
from facewright.service.pipeline.strands import hairs

# Degrees from the middle of the pupil, seen from the eyeball's center: pupil, iris, and where the
# colors of both are looked up on the face model's eyeballs.
PUPIL, IRIS = 8.5, 26.5
_IRIS_FROM, _SCLERA_FROM = (12.0, 21.0), (36.0, 75.0)
# How much darker the skin beyond the face is where it sees nothing of the sky: light that comes
# through skin is red.
_SHADE = np.array([0.45, 0.58, 0.62], np.float32)
# Where a photo shows hair at the face's outline, hair begins this much further down, mm.
_LOWERED = np.float32(35.0)
# From where on the face's edge is left out if it shows neither skin nor hair: shares of the way
# from the middle of the face to its outline; and how far it must be seen to be either.
_EDGE, _OWN = (0.6, 0.76), (0.25, 0.6)
# sRGB, in the albedo; and the power of the ratio to the skin that makes its brows as dark as hair:
# they are blurred.
_BRIGHTEST_HAIR, _BROWS_DEPTH = 0.8, np.float32(3.0)
# Strands as fine as vertices lie: how many there are around the crown, and how long they are, mm.
_STRANDS = ((190, 20.0), (70, 32.0))
# sRGB.
LASHES = np.array([0.15, 0.11, 0.095], np.float32)
# Lashes are darker than hair, and have so much of its color.
_LASHES_DARKER, _LASHES_LIKE_HAIR = np.float32(0.6), np.float32(0.4)
TEETH = ("upper_teeth", "lower_teeth")


class HeadColors:
    """Colors of whole heads of one face model, at the vertices of their finest level; thread safe.

    What only depends on the rig is made when it is first needed, and kept.
    """

    def __init__(self, model: MorphableModel, rig: HeadRig) -> None:
        self._model = model
        self.rig = rig

    def colors(self, albedo: FloatArray, scalp: Scalp | None = None) -> FloatArray:
        """(V, 3) sRGB in [0, 1] of the head's finest level, of the face model's albedo.

        Beyond the face its skin goes on in the colors along its outline.

        scalp: what a photo tells of the hair; without it, its color is that of the albedo's brows.
        """
        rig = self.rig
        own = self.inner_colors(albedo)
        skin = self.skin_color(albedo)
        outline = self.outline.read(albedo, np.ones(len(albedo), np.float32), skin)
        beyond = self.beyond(outline.skin)
        face = np.where(rig.face_vertices >= 0, rig.region("face"), 0)[:, None]
        colors = np.where(self.on_skin[:, None], beyond + face * (own - beyond), own)
        if scalp is None:
            brows = hair_of_brows(albedo[self.scalp_places.brows])
            scalp = Scalp(skin * (brows / skin) ** _BROWS_DEPTH, skin)
        if scalp.hair is not None:
            # In the albedo's light.
            hair = scalp.hair * skin / scalp.skin
            hair *= min(1.0, _BRIGHTEST_HAIR / hair.max())
            noise, shade = self._strands
            cover = hair_covers(self.hair_heights(scalp.receding), noise)[:, None]
            colors += cover * (hair * shade[:, None] - colors)
            colors[self._rows("lashes")] = lash_color(hair)
        eyes = self.eye_angle < 180
        colors[eyes] = self.eye_colors(albedo)[self.eye_angle[eyes].astype(np.intp)]
        return np.clip(colors, 0, 1).astype(np.float32)

    def inner_colors(self, albedo: FloatArray) -> FloatArray:
        """(V, 3) sRGB of the face model's vertices at the head's; the mouth has its own."""
        colors = albedo[np.maximum(self.rig.face_vertices, 0)]
        rows, light = self._mouth_light
        colors[rows] *= light[:, None]
        for rows, own in self._mouth_colors:
            colors[rows] = own
        return colors

    @cached_property
    def tooth_places(self) -> dict[str, tuple[IndexArray, ToothPlaces]]:
        """For both rows of `TEETH`, its vertices (n,) and where they lie on it."""
        found = {}
        for row in TEETH:
            rows = self._rows(row)
            found[row] = rows, ToothPlaces.find(self.mean_points[rows], row)
        return found

    @cached_property
    def _mouth_colors(self) -> list[tuple[IndexArray, FloatArray]]:
        """Vertices (n,) of teeth, tongue and lashes, and their colors (n, 3)."""
        tongue, lashes = self._rows("tongue"), self._rows("lashes")
        triangles = self.rig.level("high").triangles
        normals = vertex_normals(self.mean_points[None], triangles)[0]
        return [
            *((rows, at.colors(row, gaps=False)) for row, (rows, at) in self.tooth_places.items()),
            (tongue, tongue_colors(self.mean_points[tongue], normals[tongue])),
            (lashes, np.tile(LASHES, (len(lashes), 1))),
        ]

    @cached_property
    def _mouth_light(self) -> tuple[IndexArray, FloatArray]:
        """Vertices (n,) of the inside of the mouth, without that of the lids, and their light."""
        rows = self._rows("mouth")
        ends = self.mean_points[self._rows("upper_teeth"), 1].max()
        # The lips' inner edge is the skin's.
        rows = rows[~self.on_skin[rows] & (self.mean_points[rows, 1] < ends)]
        return rows, mouth_light(self.mean_points[rows])

    def _rows(self, part: str) -> IndexArray:
        """(n,) vertices of a part."""
        return np.unique(self.rig.level("high").part(part)).astype(np.intp)

    def beyond(self, anchors: FloatArray) -> FloatArray:
        """(V, 3): bare skin beyond the face in the colors (24, 3) along its outline."""
        skin = self.rig.continued(anchors)
        # The mean face's own shade is part of the colors along its outline.
        skin *= 1 - (1 - self.rig.occlusion)[:, None] * _SHADE
        return skin

    def eye_colors(self, albedo: FloatArray, iris: FloatArray | None = None) -> FloatArray:
        """(180, 3) sRGB of an eyeball by the degrees from its pupil's middle.

        iris: (3,) its color, where a photo tells it.
        """
        eyeball = self._model.parts == PART_EYEBALL
        angle = self._face_eye_angle
        ring = eyeball & (angle > _IRIS_FROM[0]) & (angle < _IRIS_FROM[1])
        white = eyeball & (angle > _SCLERA_FROM[0]) & (angle < _SCLERA_FROM[1])
        sclera = albedo[white].mean(axis=0)
        if iris is None:
            iris = albedo[ring].mean(axis=0)
        degrees: DoubleArray = np.arange(180, dtype=np.float64) + 0.5
        result: DoubleArray = np.tile(sclera.astype(np.float64), (180, 1))
        result *= (1 - 0.35 * _step(degrees, 28, 85))[:, None]
        limbus = np.exp(-0.5 * ((degrees - IRIS + 1.6) / 1.6) ** 2)
        inner = np.exp(-0.5 * ((degrees - PUPIL - 4) / 4.0) ** 2)
        colored = iris * (1 - 0.55 * limbus + 0.25 * inner)[:, None]
        result += (1 - _step(degrees, IRIS - 1, IRIS + 1))[:, None] * (colored - result)
        result += (1 - _step(degrees, PUPIL - 1, PUPIL + 1))[:, None] * (0.02 - result)
        return np.clip(result, 0, 1).astype(np.float32)

    @cached_property
    def on_skin(self) -> BoolArray:
        """(V,) whether a vertex is the skin's."""
        on_skin = np.zeros(len(self.rig.uv), bool)
        on_skin[self.rig.level("high").part("skin")] = True
        return on_skin

    @cached_property
    def outline(self) -> OutlineReader:
        """Tells what a photo shows along the face's outline."""
        return OutlineReader(self._model, self.rig)

    @cached_property
    def scalp_places(self) -> ScalpPlaces:
        """Where hair is looked for."""
        return ScalpPlaces.find(self._model, self.rig, self.mean_points, self._mean_cage)

    def skin_color(self, colors: FloatArray) -> FloatArray:
        """(3,) that of most of the face, of colors (V_face, 3)."""
        return np.asarray(np.median(colors[self._skin_rows], axis=0), np.float32)

    def hair_heights(self, receding: float, hair: FloatArray | None = None) -> FloatArray:
        """(V,) mm by which vertices lie above where hair begins; far below on all but the skin.

        receding: how far it begins behind the usual line above the forehead, mm.
        hair: (V,) in [0, 1], where a photo shows hair, which begins further down then.
        """
        heights = self._above_hairline.copy()
        if hair is not None:
            lower = np.minimum(_LOWERED * (2 * hair - 1), heights + _LOWERED)
            np.maximum(heights, lower, out=heights)
        if receding > 0:
            behind, sides = self._behind_forehead
            np.minimum(heights, np.maximum(behind - np.float32(receding), sides), out=heights)
        heights[~self.on_skin] = -np.float32(BALD_MM)
        return heights

    def around(self, outline: Outline) -> tuple[FloatArray, FloatArray]:
        """(V,) in [0, 1] each: how far a vertex is the baked face's, and near hair in the photo."""
        table = np.stack([outline.own, outline.hair, np.zeros_like(outline.hair)], axis=1)
        own, hair, _ = self.rig.continued(table).T
        # What is neither skin nor hair at the face's edge is left out.
        share = np.clip((own - _OWN[0]) / (_OWN[1] - _OWN[0]), 0, 1)
        return self._face_share * (1 - self._edge * (1 - share)), hair

    @cached_property
    def _skin_rows(self) -> IndexArray:
        """Some of the face model's vertices of cheeks, nose and forehead."""
        return np.flatnonzero(self._model.skin_region)[::8]

    @cached_property
    def _above_hairline(self) -> FloatArray:
        return above_hairline(self.rig, self.mean_points, self.rig.joints(self._mean_cage))

    @cached_property
    def _behind_forehead(self) -> tuple[FloatArray, FloatArray]:
        """(V,) mm behind the hairline's front, and below where a bald head has hair."""
        front, sides = self.scalp_places.front, self.scalp_places.sides
        return front - self.mean_points[:, 2], sides - self.mean_points[:, 1]

    @cached_property
    def _face_share(self) -> FloatArray:
        return self.rig.region("face") * self.on_skin

    @cached_property
    def _edge(self) -> FloatArray:
        """(V,) in [0, 1]: how near a vertex of the skin lies to the face's outline."""
        rows = self.rig.face_vertices
        radius = np.linalg.norm(2 * self._model.uv[np.maximum(rows, 0)] - 1, axis=1)
        return np.where((rows >= 0) & self.on_skin, _step(radius, *_EDGE), 0).astype(np.float32)

    @cached_property
    def _strands(self) -> tuple[FloatArray, FloatArray]:
        """(V,) noise of single hairs, coarse as vertices are; and factors of the hair's color."""
        noise = hairs(self.mean_points - self.scalp_middle, _STRANDS)
        return noise, hair_shade(noise, self.rig.occlusion)

    @cached_property
    def scalp_middle(self) -> FloatArray:
        """(3,) mm: what hair grows around."""
        scalp = self.on_skin & (self.rig.region("scalp") > 0.9)
        return np.asarray(self.mean_points[scalp].mean(axis=0), np.float32)

    @cached_property
    def eye_angle(self) -> FloatArray:
        """(V,) degrees from the own pupil's middle, below 180 on eyeballs and 180 elsewhere."""
        points = self.mean_points
        joints = self.rig.joints(self._mean_cage)
        angle = np.full(len(points), 180, np.float32)
        for part, joint in (("left_eye", "LeftEye"), ("right_eye", "RightEye")):
            rows = self._rows(part)
            angle[rows] = np.minimum(_degrees(points[rows] - joints[JOINTS.index(joint)]), 179)
        return angle

    @cached_property
    def _face_eye_angle(self) -> FloatArray:
        """(V_face,) degrees as `eye_angle`, of the face model's eyeballs."""
        points = self._model.mean_vertices
        joints = self.rig.joints(self._mean_cage)
        left = _degrees(points - joints[JOINTS.index("LeftEye")])
        right = _degrees(points - joints[JOINTS.index("RightEye")])
        return np.where(points[:, 0] > 0, left, right)

    @cached_property
    def _mean_cage(self) -> FloatArray:
        identity = np.zeros(self._model.n_identity, np.float32)
        expression = np.zeros(self._model.n_expression, np.float32)
        return self.rig.cage(self._model.mean_shape, identity, expression)

    @cached_property
    def mean_points(self) -> FloatArray:
        """(V, 3) mm: the mean head."""
        return self.rig.subdivision.refine(self._mean_cage[None])[0]


def lash_color(hair: FloatArray) -> FloatArray:
    """(3,) sRGB of lashes that go with hair (3,)."""
    return LASHES + _LASHES_LIKE_HAIR * (_LASHES_DARKER * hair - LASHES)


def _degrees(offsets: FloatArray) -> FloatArray:
    """(n,) angle between offsets (n, 3) and +z."""
    across = np.linalg.norm(offsets[:, :2], axis=1)
    return np.degrees(np.arctan2(across, offsets[:, 2])).astype(np.float32)


def _step(values: DoubleArray, low: float, high: float) -> DoubleArray:
    share = np.clip((values - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)
