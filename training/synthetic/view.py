"""Where the camera stands, what the crop shows, and the pose under the nominal crop camera.

A photo is taken from any distance with the face anywhere in it; the labels are those of the one
nominal camera that the network's crops assume (`models.camera`). The nominal pose is the one whose
projection lies where the true one does: it starts from the true rotation relative to the line of
sight and is refined by least squares on the landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facewright.models.alignment import crop_transform
from facewright.models.arrays import DoubleArray
from facewright.models.camera import (
    CAMERA_DISTANCE,
    CROP_SIZE,
    FOCAL_LENGTH,
    TRANSLATION_UNIT,
    angles_from_matrix,
    rotation_matrix,
)
from facewright.models.landmarks import five_points

_PHOTO_FOCAL = 1000.0
"""Of the photo before cropping; the crop's scale makes the choice irrelevant."""
_REFINEMENTS = 3
_IMAGE_AXES = np.array([1.0, -1.0])
"""The camera's y axis points up, the image's down."""


@dataclass(frozen=True, eq=False)
class View:
    """A camera at the origin looking along -z, and the crop cut from its photo.

    Attributes:
        rotation: (3, 3) model to camera axes; offset: (3,) mm, the model origin's position.
        crop: (2, 3) similarity, photo px (principal point at 0) to px of the 224 crop.
    """

    rotation: DoubleArray
    offset: DoubleArray
    crop: DoubleArray

    @property
    def turn(self) -> float:
        """Degrees by which the crop shows the photo turned clockwise."""
        return float(np.degrees(np.arctan2(self.crop[1, 0], self.crop[0, 0])))

    def to_camera(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Model points (V, 3) mm to camera space (V, 3) mm, float32."""
        return points @ self.rotation.T.astype(np.float32) + self.offset.astype(np.float32)

    def project(self, camera_points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Camera-space points (V, 3) to (V, 3): x, y in crop px and 1000 / depth."""
        nearness = np.float32(1000.0) / -camera_points[:, 2]
        linear = (self.crop[:, :2] * _PHOTO_FOCAL / 1000.0 * _IMAGE_AXES).astype(np.float32)
        x, y = camera_points[:, 0] * nearness, camera_points[:, 1] * nearness
        out = np.empty_like(camera_points)
        out[:, 0] = linear[0, 0] * x + linear[0, 1] * y + np.float32(self.crop[0, 2])
        out[:, 1] = linear[1, 0] * x + linear[1, 1] * y + np.float32(self.crop[1, 2])
        out[:, 2] = nearness
        return out


def towards(direction: DoubleArray) -> DoubleArray:
    """(3, 3) smallest rotation that turns -z to `direction` (3,), which has negative z."""
    d = direction / np.linalg.norm(direction)
    axis = np.array([d[1], -d[0], 0.0])  # (-z) x d
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1.0 - d[2])


def draw_pose(rng: np.random.Generator) -> DoubleArray:
    """(3, 3) rotation of the head relative to the line of sight.

    Most people look at the camera; yaw reaches 90 degrees to both sides, pitch 45, roll 60.
    """
    kind = rng.random()
    if kind < 0.5:
        yaw = rng.normal(0, 16)
    elif kind < 0.75:
        yaw = rng.normal(0, 36)
    else:
        yaw = rng.uniform(-90, 90)
    pitch = rng.uniform(-45, 45) if rng.random() < 0.25 else rng.normal(0, 10)
    roll = rng.normal(0, 30 if rng.random() < 0.15 else 8)
    angles = np.radians([np.clip(pitch, -45, 45), np.clip(yaw, -90, 90), np.clip(roll, -60, 60)])
    return rotation_matrix(angles[None])[0]


def draw_view(
    rng: np.random.Generator,
    landmarks: NDArray[np.float32],
    template: tuple[DoubleArray, DoubleArray],
) -> View:
    """Place the camera and cut the crop as the service does, from rough points or landmarks.

    Points are a bit off. The alignment takes out the roll that it sees in them; the rest remains.

    Args:
        rng: source of pose, distance, position in the photo and detector error.
        landmarks: (68, 3) mm in model space.
        template: (5, 3) and (68, 3) mm of the alignment: of the detector's points and of landmarks.
    """
    # A self-portrait at arm's length, or a photographer some steps away.
    near, far = (330, 750) if rng.random() < 0.25 else (700, 4000)
    distance = float(np.exp(rng.uniform(np.log(near), np.log(far))))
    off_axis = np.clip(rng.normal(0, 0.11, 2), -0.3, 0.3)
    line_of_sight = np.array([off_axis[0], off_axis[1], -1.0])
    line_of_sight /= np.linalg.norm(line_of_sight)
    rotation = towards(line_of_sight) @ draw_pose(rng)
    offset = distance * line_of_sight
    seen = landmarks @ rotation.T + offset
    photo = _PHOTO_FOCAL * seen[:, :2] / -seen[:, 2:] * _IMAGE_AXES
    points = five_points(photo)
    # At profile the eyes coincide in the image; an error does not vanish with them.
    scale = _PHOTO_FOCAL / -seen[:, 2].mean()
    eye_distance = max(float(np.linalg.norm(points[1] - points[0])), 30.0 * scale)
    if rng.random() < 0.5:
        off, shift = rng.uniform(0.01, 0.09), 0.03
        error = off * rng.standard_normal((5, 2)) + shift * rng.standard_normal(2)
        crop = crop_transform(points + eye_distance * error, template[0])
    else:
        # The network's own landmarks are off together more than each by itself.
        off, shift = rng.uniform(0.005, 0.04), 0.015
        error = off * rng.standard_normal((68, 2)) + shift * rng.standard_normal(2)
        crop = crop_transform(photo + eye_distance * error, template[1])
    zoom = np.exp(rng.normal(0, shift))
    center = CROP_SIZE / 2
    crop = zoom * crop + np.array([[0, 0, center], [0, 0, center]]) * (1 - zoom)
    return View(rotation, offset, crop)


def nominal_pose(view: View, landmarks: NDArray[np.float32]) -> tuple[DoubleArray, DoubleArray]:
    """Rotation matrix (3, 3) and translation (3,) mm under the nominal crop camera.

    Args:
        view: the true camera and crop.
        landmarks: (68, 3) mm in model space.
    """
    zoom = np.sqrt(np.linalg.det(view.crop[:, :2]))
    center = CROP_SIZE / 2
    # A crop that turns the photo is a plain one of a camera turned about its axis.
    turn = np.eye(3)
    turn[:2, :2] = view.crop[:, :2] / zoom * np.outer(_IMAGE_AXES, _IMAGE_AXES)
    camera_rotation, origin = turn @ view.rotation, turn @ view.offset
    seen = landmarks.astype(np.float64) @ camera_rotation.T + origin
    target = view.crop[:, 2] + zoom * _PHOTO_FOCAL * seen[:, :2] / -seen[:, 2:] * _IMAGE_AXES
    sight = origin / np.linalg.norm(origin)
    place = view.crop[:, 2] + zoom * _PHOTO_FOCAL * origin[:2] / -origin[2] * _IMAGE_AXES
    # Off the axis an image is magnified by 1/cos across and 1/cos^2 along the radius.
    pixels_per_mm = zoom * _PHOTO_FOCAL / np.linalg.norm(origin) * (-sight[2]) ** -1.5
    depth = FOCAL_LENGTH / pixels_per_mm
    at = np.array([place[0] - center, center - place[1]]) * depth / FOCAL_LENGTH
    position = np.array([at[0], at[1], -depth])
    rotation = towards(position) @ towards(sight).T @ camera_rotation
    for _ in range(_REFINEMENTS):
        rotation, position = _refine(rotation, position, landmarks, target)
    translation = position + np.array([0.0, 0.0, CAMERA_DISTANCE])
    return rotation, translation


def _refine(
    rotation: DoubleArray,
    position: DoubleArray,
    landmarks: NDArray[np.float32],
    target: DoubleArray,
) -> tuple[DoubleArray, DoubleArray]:
    """One Gauss-Newton step of the nominal pose on the landmarks' image positions."""
    turned = landmarks @ rotation.T
    p = turned + position
    inverse = FOCAL_LENGTH / -p[:, 2]
    error = target - (CROP_SIZE / 2 + inverse[:, None] * p[:, :2] * _IMAGE_AXES)
    # Rows: d(u, v)/d(position); rotations act on `turned` as position += w x turned.
    slope = np.zeros((len(p), 2, 3))
    slope[:, 0, 0] = inverse
    slope[:, 1, 1] = -inverse
    slope[:, 0, 2] = inverse * p[:, 0] / -p[:, 2]
    slope[:, 1, 2] = -inverse * p[:, 1] / -p[:, 2]
    x, y, z = turned.T
    zero = np.zeros_like(x)
    spin = np.stack([zero, z, -y, -z, zero, x, y, -x, zero], axis=1).reshape(-1, 3, 3)
    jacobian = np.concatenate([slope @ spin, slope], axis=2).reshape(-1, 6)
    step = np.linalg.lstsq(jacobian, error.reshape(-1), rcond=None)[0]
    angle = np.linalg.norm(step[:3])
    axis = step[:3] / max(angle, 1e-12)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turn @ rotation, position + step[3:]


def pose_coefficients(
    rotation: DoubleArray, translation: DoubleArray
) -> tuple[DoubleArray, DoubleArray]:
    """Angles (3,) in radians and translation (3,) in 100 mm, the coefficients of a pose."""
    return angles_from_matrix(rotation[None])[0], translation / TRANSLATION_UNIT
