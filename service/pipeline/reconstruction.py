"""One photo's way through detector, alignment, network and face model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from facewright.models.alignment import FixedAlignment
from facewright.models.camera import TRANSLATION_UNIT, depth, photo_camera, rotation_matrix
from facewright.models.layout import layout_of
from facewright.models.morphable_model import MorphableModel
from facewright.service.errors import NoFaceFound
from facewright.service.networks.detection import (
    DetectedFace,
    Detector,
    TooCoarse,
    detect_any_orientation,
)
from facewright.service.pipeline.align import (
    MOST_REALIGNMENTS,
    SETTLED_PX,
    Realignment,
    crop_face,
    face_crop_transform,
    realign,
)

Regress = Callable[[npt.NDArray[np.uint8]], tuple[npt.NDArray[np.float32], ...]]
"""Crops (N, 224, 224, 3) to coefficients (N, size), confidences (N, 80), and maybe descriptors."""


@dataclass(frozen=True, eq=False)
class ObservedFace:
    """A face in a photo and what the network makes of it, without any geometry."""

    face: DetectedFace
    """Where it was found in the photo."""
    crop_transform: npt.NDArray[np.float64]
    """(2, 3): the similarity from photo pixels to pixels of the 224 crop, both continuous."""
    coefficients: npt.NDArray[np.float32]
    """(239,) or (257,), see `models.layout`; pose and light are those of the crop."""
    confidences: npt.NDArray[np.float32]
    """(80,) in 0..1, one per identity coefficient."""
    descriptor: npt.NDArray[np.float32] | None = field(default=None, kw_only=True)
    """(D,) of unit length: tells people apart, and so belongs neither into an answer nor into a
    log; None of weights without."""

    def moved(self, scale: float, shift: npt.NDArray[np.float64]) -> ObservedFace:
        """The same face in a photo whose pixels are `scale` times as many, `shift` (2,) further."""
        face = DetectedFace(
            box=(scale * self.face.box + np.tile(shift, 2)).astype(np.float32),
            points=(scale * self.face.points + shift).astype(np.float32),
            score=self.face.score,
        )
        linear = self.crop_transform[:, :2] / scale
        crop_transform = np.column_stack([linear, self.crop_transform[:, 2] - linear @ shift])
        return replace(self, face=face, crop_transform=crop_transform)


@dataclass(frozen=True, eq=False)
class Geometry:
    """What coefficients make of the face model; evaluated when it is asked for.

    A client that wants coefficients only, or one mesh of the two, does not pay for the rest.
    """

    model: MorphableModel
    identity: npt.NDArray[np.float32]
    """(80,)."""
    expression: npt.NDArray[np.float32]
    """(64,)."""
    albedo_coefficients: npt.NDArray[np.float32]
    """(80,)."""

    @cached_property
    def cage(self) -> npt.NDArray[np.float32]:
        """(C, 3) mm in model space, with the expression of the photo."""
        return self.model.cage(self.identity[None], self.expression[None])[0]

    @cached_property
    def vertices(self) -> npt.NDArray[np.float32]:
        """(V, 3) mm in model space, with the expression of the photo."""
        return self.model.refine(self.cage[None])[0]

    @cached_property
    def neutral_vertices(self) -> npt.NDArray[np.float32]:
        """(V, 3) mm in model space, without expression."""
        relaxed = np.zeros((1, self.model.n_expression), np.float32)
        return self.model.shape(self.identity[None], relaxed)[0]

    @cached_property
    def albedo(self) -> npt.NDArray[np.float32]:
        """(V, 3) sRGB in 0..1."""
        return self.model.albedo(self.albedo_coefficients[None])[0]


@dataclass(frozen=True, eq=False)
class Reconstruction(ObservedFace):
    """One reconstructed face.

    Model space is right-handed, +x to the subject's left, +y up, +z out of the face, in mm.
    A posed point is p = R v + t; the camera stands at (0, 0, 1000) and looks along -z.  The
    pose is the one in the photo: that of the coefficients, turned as the crop was.
    """

    geometry: Geometry
    rotation_matrix: npt.NDArray[np.float32]
    """(3, 3): R."""
    translation_mm: npt.NDArray[np.float32]
    """(3,): t."""
    landmarks_px: npt.NDArray[np.float32]
    """(68, 2) photo pixels, continuous, in iBUG order."""
    intrinsics: npt.NDArray[np.float64]
    """(3, 3): K such that photo pixels ~ K (x, -y, depth) for a posed point."""

    @property
    def vertices(self) -> npt.NDArray[np.float32]:
        """(V, 3) mm in model space, with the expression of the photo."""
        return self.geometry.vertices

    @property
    def neutral_vertices(self) -> npt.NDArray[np.float32]:
        """(V, 3) mm in model space, without expression."""
        return self.geometry.neutral_vertices

    @property
    def albedo(self) -> npt.NDArray[np.float32]:
        """(V, 3) sRGB in 0..1."""
        return self.geometry.albedo

    def posed_vertices(self) -> npt.NDArray[np.float32]:
        """(V, 3) mm: the vertices in camera-aligned space."""
        return self.vertices @ self.rotation_matrix.T + self.translation_mm

    def project(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Photo pixels and depth (n, 3) of points (n, 3) in model space, as `projected`."""
        return _project(points @ self.rotation_matrix.T + self.translation_mm, self.intrinsics)

    def projected(self) -> npt.NDArray[np.float32]:
        """(V, 3): x and y in photo pixels (continuous), depth before the camera in mm."""
        return _project(self.posed_vertices(), self.intrinsics)


class Reconstructor:
    """Reconstructs the faces of photos; holds no state of its own.

    alignment: how the network wants its crops to be cut; this project's way when None.
    """

    def __init__(
        self,
        model: MorphableModel,
        detector: Detector,
        regress: Regress,
        alignment: FixedAlignment | None = None,
    ) -> None:
        self._model = model
        self._detector = detector
        self._regress = regress
        self._alignment = alignment

    def reconstruct(
        self, rgb_u8: npt.NDArray[np.uint8], faces: Literal["all", "largest"] = "all"
    ) -> list[Reconstruction]:
        """Reconstruct the faces of a photo (H, W, 3), largest box first; all in one batch.

        Raises as `observe` does.
        """
        return reconstruct_faces(self._model, self.observe(rgb_u8, faces))

    def observe(
        self,
        rgb_u8: npt.NDArray[np.uint8],
        faces: Literal["all", "largest"] = "all",
        *,
        largest_zoom: float = math.inf,
    ) -> list[ObservedFace]:
        """Find the faces of a photo and ask the network about them, largest box first.

        `faces="largest"` takes one only: the largest, weighed by its place as
        `DetectedFace.prominence` says.  A face whose landmarks disagree with the
        crop is aligned again by them, and the network asked once more, unless the network comes
        with an alignment of its own.  Raises `NoFaceFound`
        when there is no face in any orientation, `TooCoarse` when a face would have to be
        enlarged by more than `largest_zoom`, and whatever the network raises.
        """
        found = detect_any_orientation(self._detector, rgb_u8)
        if faces == "largest":
            height, width = rgb_u8.shape[:2]
            found.sort(key=lambda face: face.prominence(height, width), reverse=True)
        else:
            found.sort(key=lambda face: face.area, reverse=True)
        aligned = self._align(found, only_first=faces == "largest")
        if not aligned:
            raise NoFaceFound("No face was found in the photo, in any orientation.")
        _check_zoom([transform for _, transform in aligned], largest_zoom)
        observed = self._ask(rgb_u8, aligned)
        if self._alignment is None:
            observed = self._settle(rgb_u8, observed)
        _check_zoom([one.crop_transform for one in observed], largest_zoom)
        return observed

    def _ask(
        self,
        rgb_u8: npt.NDArray[np.uint8],
        aligned: Sequence[tuple[DetectedFace, npt.NDArray[np.float64]]],
    ) -> list[ObservedFace]:
        """What the network says of faces with their crop transforms, in one batch."""
        crops = np.stack([crop_face(rgb_u8, transform) for _, transform in aligned])
        coefficients, confidences, *more = self._regress(crops)
        descriptors = more[0] if more else [None] * len(crops)
        return [
            ObservedFace(
                face, transform, coefficients[i], confidences[i], descriptor=descriptors[i]
            )
            for i, (face, transform) in enumerate(aligned)
        ]

    def _settle(
        self, rgb_u8: npt.NDArray[np.uint8], observed: list[ObservedFace]
    ) -> list[ObservedFace]:
        """Align faces again while the network's landmarks ask for another crop.

        Of the crops that were tried of a face, the one is kept that they agree with best.
        """
        settled = list(observed)
        asked = [self._realign(one) for one in observed]
        least = [one.shift_px for one in asked]
        for _ in range(MOST_REALIGNMENTS):
            unsettled = [i for i, one in enumerate(asked) if SETTLED_PX < one.shift_px < math.inf]
            if not unsettled:
                break
            again = [(observed[i].face, asked[i].transform) for i in unsettled]
            for i, one in zip(unsettled, self._ask(rgb_u8, again), strict=True):
                asked[i] = self._realign(one)
                if asked[i].shift_px < least[i]:
                    settled[i], least[i] = one, asked[i].shift_px
        return settled

    def _realign(self, one: ObservedFace) -> Realignment:
        """The crop that a face's landmarks ask for; infinitely far off if they are no face's."""
        try:
            return realign(self._model, one.crop_transform, one.coefficients)
        except ValueError:
            return Realignment(one.crop_transform, math.inf)

    def _align(
        self, faces: list[DetectedFace], *, only_first: bool
    ) -> list[tuple[DetectedFace, npt.NDArray[np.float64]]]:
        """Crop transforms of the faces; those whose points cannot be a face's are left out."""
        aligned = []
        for face in faces:
            try:
                transform = (
                    face_crop_transform(face, self._model.five_points)
                    if self._alignment is None
                    else self._alignment.crop_transform(face.points)
                )
            except ValueError:
                continue
            aligned.append((face, transform))
            if only_first:
                break
        return aligned


def _check_zoom(transforms: Sequence[npt.NDArray[np.float64]], largest: float) -> None:
    """Raise `TooCoarse` if a crop transform (2, 3) enlarges the photo by more than `largest`."""
    zoom = max(math.hypot(transform[0, 0], transform[0, 1]) for transform in transforms)
    if zoom > largest:
        raise TooCoarse(zoom / largest)


def reconstruct_faces(
    model: MorphableModel, observed: Sequence[ObservedFace]
) -> list[Reconstruction]:
    """The geometry of faces, in their order: what their coefficients mean."""
    if not observed:
        return []
    coefficients = np.stack([one.coefficients for one in observed])
    parts = layout_of(coefficients).split(coefficients)
    points = model.landmark_points(parts.identity, parts.expression)
    rotation = rotation_matrix(parts.rotation)
    translation = TRANSLATION_UNIT * parts.translation
    reconstructions = []
    for i, one in enumerate(observed):
        intrinsics, turn = photo_camera(one.crop_transform)
        rotation_photo = (turn @ rotation[i]).astype(np.float32)
        translation_photo = (turn @ translation[i]).astype(np.float32)
        landmarks = points[i] @ rotation_photo.T + translation_photo
        reconstructions.append(
            Reconstruction(
                face=one.face,
                crop_transform=one.crop_transform,
                coefficients=one.coefficients,
                confidences=one.confidences,
                descriptor=one.descriptor,
                geometry=Geometry(model, parts.identity[i], parts.expression[i], parts.albedo[i]),
                rotation_matrix=rotation_photo,
                translation_mm=translation_photo,
                landmarks_px=_project(landmarks, intrinsics)[:, :2],
                intrinsics=intrinsics,
            )
        )
    return reconstructions


def _project(
    posed: npt.NDArray[np.float32], intrinsics: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Photo pixels and depth (V, 3) of posed points (V, 3) mm."""
    # In float64: an offset of thousands of pixels costs float32 the tenths of a pixel.
    along = depth(posed).astype(np.float64)
    right, up = posed[:, 0] / along, posed[:, 1] / along
    rays = np.stack([right, -up, np.ones_like(along)], axis=1)
    projected = rays @ intrinsics.T
    projected[:, 2] = along
    return projected.astype(np.float32)
