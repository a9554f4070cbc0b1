"""Things people hold before their faces: hands, microphones, telephones, cups, papers, balls.

Everything is made in camera axes (+x right, +y up, +z towards the camera, mm) around a head that
is given by its posed landmarks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facewright.models.arrays import FloatArray, float32
from facewright.models.camera import rotation_matrix
from facewright.models.landmarks import CHIN, LEFT_MOUTH_CORNER, NOSE_TIP, RIGHT_MOUTH_CORNER
from facewright.training.synthetic.props import Mesh, Prop, box, capsule, ellipsoid, join, prop

_FINGER_BASE_X = (-30.0, -10.0, 10.0, 29.0)
_FINGER_LENGTH = (70.0, 79.0, 74.0, 57.0)
_PHALANGES = (0.45, 0.30, 0.25)
_KNUCKLE_Y = 78.0

Held = tuple[float, float, float, float]
SELDOM: Held = (0.09, 0.14, 0.155, 0.18)
OFTEN: Held = (0.12, 0.44, 0.5, 0.6)
"""Shares of portraits with microphones, with those or hands, … or a telephone, … or something else:
where faces are to be learned, and where what hides them is."""
# Where a hand is put, how far it leans (degrees: mean and spread, 0 has the fingers upright), and
# how bent its fingers are at least and at most.
_POSES = (
    (tuple(range(3, 14)), (25, 30), ((0, 1),) * 4),  # at the chin or the jaw
    ((1, 2, 14, 15, 31, 35, 48, 54), (15, 30), ((0, 0.4),) * 4),  # on a cheek
    ((33, 48, 51, 54, 57), (60, 30), ((0, 0.4),) * 4),  # before the mouth
    ((51, 57, 62), (10, 20), ((0, 0.15), *((0.8, 1),) * 3)),  # a finger at the lips
    ((17, 21, 22, 26, 27, 36, 45), (40, 40), ((0, 0.5),) * 4),  # at the brows or the eyes
)  # fmt: skip


def _turn(degrees: tuple[float, float, float]) -> NDArray[np.float64]:
    """(3, 3) of pitch, yaw, roll in degrees."""
    return rotation_matrix(np.radians([degrees]))[0]


def hand(
    rng: np.random.Generator,
    skin: FloatArray,
    curl: float | NDArray[np.float64],
    sleeve: FloatArray,
) -> list[Prop]:
    """A right hand with its forearm: wrist at the origin, fingers along +y, palm towards -z.

    Args:
        rng: source of its proportions.
        skin: (3,) linear color.
        curl: 0 stretched to 1 a fist; of all fingers, or (4,) of each from the index on.
        sleeve: (3,) linear color of the forearm.
    """
    curls = np.broadcast_to(np.asarray(curl, np.float64), 4)
    parts: list[Mesh] = []
    for k, (x, length) in enumerate(zip(_FINGER_BASE_X, _FINGER_LENGTH, strict=True)):
        base = np.array([x, _KNUCKLE_Y - 3 * abs(k - 1.2), 0.0])
        parts.append(capsule([0.45 * x, 4, 0], base, 14.0, 11.5))
        bend = curls[k] * rng.uniform(0.85, 1.15)
        angle, spread, radius = 0.15 * bend, 0.004 * x * rng.uniform(0.3, 1.6), 9.0 - 0.5 * (k == 3)
        at = base
        for share, turn in zip(_PHALANGES, (1.35, 1.5, 1.0), strict=True):
            angle += bend * turn
            step = share * length
            direction = [np.sin(spread) * np.cos(angle), np.cos(angle), -np.sin(angle)]
            end = at + step * np.asarray(direction)
            parts.append(capsule(at, end, radius, 0.9 * radius))
            at, radius = end, 0.9 * radius
    aside = rng.uniform(-0.2, 0.6) * (1 - curls[1])
    thumb = np.array([-26.0, 18, -4])
    for step, angle, radius in ((38, 0.75, 12.5), (30, 0.45, 10.5), (24, 0.35, 9.0)):
        lean = angle * (0.4 + aside)
        end = thumb + step * np.array([-np.sin(lean), np.cos(lean), -0.35 - 0.3 * curls[1]])
        parts.append(capsule(thumb, end, radius, 0.9 * radius))
        thumb = end
    parts.append(capsule([0, 8, 0], [0, -60, 0], 24, 27, sides=10))
    mesh = join(parts)
    tint = np.exp(0.05 * rng.standard_normal(3)) * float32([1.0, 0.93, 0.92])
    # Finger tips are redder than backs.
    blush = 1 - float32([0.0, 0.12, 0.1]) * np.clip((mesh[0][:, 1:2] - 70) / 70, 0, 1)
    bare = prop(mesh, skin * tint * blush, 0.15)
    arm = prop(capsule([0, -45, 0], [0, -300, 0], 34, 48, sides=12), sleeve)
    return [bare, arm]


def _place(parts: list[Prop], rotation: NDArray[np.float64], offset: FloatArray) -> list[Prop]:
    return [part.moved(rotation, offset) for part in parts]


def touching_hand(
    rng: np.random.Generator, landmarks: FloatArray, skin: FloatArray, sleeve: FloatArray
) -> list[Prop]:
    """A hand at the chin, the cheek, the mouth, the temple, or raised in front."""
    side = float(rng.choice([-1, 1]))
    jaw = np.arange(2, 15) if rng.random() < 0.5 else np.array([CHIN, 57, 2, 14, 48, 54, 17, 26])
    target = landmarks[rng.choice(jaw)].astype(np.float64)
    towards = rng.uniform(10, 22) if rng.random() < 0.75 else rng.uniform(50, 160)
    curl = float(rng.choice([rng.uniform(0.05, 0.35), rng.uniform(0.5, 1.0)]))
    if side * (target[0] - landmarks[NOSE_TIP, 0]) < -15:
        side = -side
    rotation = _turn((rng.normal(-12, 14), side * rng.normal(10, 25), side * rng.normal(18, 22)))
    mirror = np.diag([side, 1.0, 1.0])
    anchor = np.array([0.0, rng.uniform(70, 130) - 45 * curl, 0.0])
    return _mirrored(hand(rng, skin, curl, sleeve), mirror, rotation,
                     target + [0, 0, towards] - rotation @ anchor)  # fmt: skip


def posed_hands(
    rng: np.random.Generator, landmarks: FloatArray, skin: FloatArray, sleeve: FloatArray
) -> list[Prop]:
    """One hand or two anywhere on the face, as people put them there."""
    targets, (lean, spread), bends = _POSES[rng.integers(len(_POSES))]
    target = landmarks[rng.choice(targets)].astype(np.float64)
    side = float(np.sign(target[0] - landmarks[NOSE_TIP, 0] + rng.normal(0, 15)) or 1)
    curl = np.array([rng.uniform(*bend) for bend in bends])
    if np.ptp([bend[1] for bend in bends]) == 0:
        curl = curl[0] + 0.15 * (curl - curl[0])
    turned = 180.0 if rng.random() < 0.12 else 0.0
    towards = rng.uniform(6, 22) if rng.random() < 0.8 else rng.uniform(40, 150)
    along = rng.uniform(85, 140) - 45 * float(curl[0])
    if rng.random() < 0.35:
        sleeve = skin
    out: list[Prop] = []
    for own in (side, -side) if rng.random() < 0.2 else (side,):
        angles = (rng.normal(-8, 16), turned + own * rng.normal(8, 25),
                  own * rng.normal(lean, spread))  # fmt: skip
        mirror = np.diag([own, 1.0, 1.0])
        scaled = _turn(angles) * np.exp(rng.normal(-0.03, 0.08))
        at = target + [0, 0, towards]
        if own != side:
            at[0] = 2 * landmarks[NOSE_TIP, 0] - at[0]
        out += _mirrored(hand(rng, skin, curl, sleeve), mirror, scaled,
                         at - scaled @ [0.0, along, 0.0])  # fmt: skip
    return out


def _mirrored(
    parts: list[Prop],
    mirror: NDArray[np.float64],
    rotation: NDArray[np.float64],
    offset: NDArray[np.float64],
) -> list[Prop]:
    """Parts of a right hand mirrored where `mirror` is, then placed."""
    placed = _place(parts, rotation @ mirror, offset.astype(np.float32))
    if np.linalg.det(mirror) > 0:
        return placed
    return [
        Prop(p.vertices, np.ascontiguousarray(p.triangles[:, ::-1]), p.colors, p.gloss)
        for p in placed
    ]


def microphones(
    rng: np.random.Generator, landmarks: FloatArray, skin: FloatArray, sleeve: FloatArray
) -> list[Prop]:
    """One to four microphones below the mouth, some held by a hand."""
    mouth = landmarks[[LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER]].mean(0).astype(np.float64)
    out: list[Prop] = []
    for _ in range(int(rng.choice([1, 2, 3, 4], p=[0.68, 0.18, 0.09, 0.05]))):
        tip = mouth + [rng.normal(0, 32), -rng.uniform(2, 75), rng.uniform(30, 120)]
        lean = np.array([rng.normal(0, 0.45), -1.0, rng.uniform(-0.1, 0.9)])
        lean /= np.linalg.norm(lean)
        dark = float(rng.uniform(0.006, 0.04))
        head_color = np.full(3, dark)
        if rng.random() < 0.25:
            head_color = rng.uniform(0.01, 0.6, 3) ** 1.5
        radius = rng.uniform(13, 25)
        foam = capsule(tip, tip + lean * rng.uniform(5, 35), radius, radius * 0.9, sides=12)
        out.append(prop(foam, head_color, 0.25 if rng.random() < 0.3 else 0.0))
        body = rng.uniform(8, 13)
        start = tip + lean * radius
        out.append(prop(capsule(start, start + lean * 260, body, 0.8 * body, flat=True),
                        np.full(3, dark * rng.uniform(0.7, 2.5)), 0.4))  # fmt: skip
        if rng.random() < 0.25:
            cube = box([body + 12, body + 12, body + 10])
            plate = rng.uniform(0.02, 0.8, 3) ** 1.3
            upright = _turn((rng.normal(70, 15), 0, rng.normal(0, 15)))
            out.append(prop(cube, plate, 0.2).moved(upright, start + lean * radius * 1.8))
        if rng.random() < 0.3:
            rotation = _turn((rng.normal(0, 10), rng.normal(0, 25), rng.normal(60, 20)))
            grip = start + lean * rng.uniform(55, 110)
            fist = hand(rng, skin, float(rng.uniform(0.85, 1.05)), sleeve)
            out += _place(fist, rotation, (grip - rotation @ [0, 75, -18]).astype(np.float32))
    return out


def telephone(
    rng: np.random.Generator, landmarks: FloatArray, skin: FloatArray, sleeve: FloatArray
) -> list[Prop]:
    """A telephone at one ear with the hand that holds it."""
    side = float(rng.choice([-1, 1]))
    ear = landmarks[1 if side < 0 else 15].astype(np.float64)
    at = ear + [side * 14, rng.uniform(-15, 15), rng.uniform(-10, 12)]
    tilt = _turn((rng.normal(10, 10), side * rng.uniform(50, 85), -side * rng.normal(18, 10)))
    dark = rng.uniform(0.004, 0.5, 3) ** 1.5
    out = [prop(box([36, 72, 4.5]), dark, 0.5).moved(tilt, at)]
    mirror = np.diag([side, 1.0, 1.0])
    rotation = _turn((rng.normal(0, 8), side * rng.uniform(20, 70), side * rng.normal(8, 12)))
    grip = at + np.array([side * 12, -20.0, 4.0])
    fingers = hand(rng, skin, float(rng.uniform(0.3, 0.55)), sleeve)
    return out + _mirrored(fingers, mirror, rotation, grip - rotation @ [0, 70, 0])


def held_object(
    rng: np.random.Generator, landmarks: FloatArray, skin: FloatArray, sleeve: FloatArray
) -> list[Prop]:
    """A cup, a paper or book, a ball or a trophy, often with fingers on it."""
    nose = landmarks[NOSE_TIP].astype(np.float64)
    aside = float(rng.choice([-1, 1]))
    at = nose + [aside * rng.uniform(20, 110), -rng.uniform(20, 110), rng.uniform(35, 150)]
    color = rng.uniform(0.02, 0.85, 3) ** 1.4
    kind = rng.integers(3)
    tilt = _turn((rng.normal(0, 25), rng.normal(0, 30), rng.normal(0, 20)))
    if kind == 0:
        mesh = capsule([0, -45, 0], [0, 45, 0], rng.uniform(28, 36), rng.uniform(34, 44),
                       sides=16, flat=True)  # fmt: skip
    elif kind == 1:
        tall = rng.uniform(40, 120)
        mesh = box([rng.uniform(50, 120), tall, 1.5])
        # Its upper edge mostly is below the nose.
        at[1] = nose[1] - tall - rng.normal(25, 25)
    else:
        radius = rng.uniform(25, 115)
        mesh = ellipsoid([0, 0, 0], [radius] * 3, sides=24, rows=14)
        at = at + [aside * radius * 0.7, -radius * 0.6, 0]
    out = [prop(mesh, color, float(rng.uniform(0, 0.4))).moved(tilt, at)]
    if rng.random() < 0.6:
        side = float(rng.choice([-1, 1]))
        rotation = _turn((rng.normal(-5, 15), side * rng.normal(0, 20), side * rng.normal(35, 20)))
        fingers = hand(rng, skin, float(rng.uniform(0.3, 0.8)), sleeve)
        grip = at + np.array([side * 30, -15.0, 20.0]) - rotation @ [0, 80, 0]
        out += _mirrored(fingers, np.diag([side, 1.0, 1.0]), rotation, grip)
    return out


def draw_objects(
    rng: np.random.Generator,
    landmarks: FloatArray,
    skin: FloatArray,
    sleeve: FloatArray,
    bounds: Held = SELDOM,
) -> list[Prop]:
    """What is held before a face, if anything.

    Args:
        rng: source of the choices.
        landmarks: (68, 3) mm, posed, camera axes.
        skin: (3,) linear color of the person's skin.
        sleeve: (3,) linear color of the clothes.
        bounds: `SELDOM` or `OFTEN`, which has hands in more poses.
    """
    kind = rng.random()
    if kind < bounds[0]:
        return microphones(rng, landmarks, skin, sleeve)
    if kind < bounds[1]:
        touching = posed_hands if bounds is OFTEN and rng.random() < 0.75 else touching_hand
        return touching(rng, landmarks, skin, sleeve)
    if kind < bounds[2]:
        return telephone(rng, landmarks, skin, sleeve)
    if kind < bounds[3]:
        return held_object(rng, landmarks, skin, sleeve)
    return []
