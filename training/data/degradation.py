"""Photos made bad on purpose, by a known amount: for C-Net's training and for its evaluation."""

from __future__ import annotations

from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

Kind = Literal["blur", "noise", "resolution", "exposure", "occlusion"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Image = npt.NDArray[np.uint8]

# What strength 1 means.
BLUR_SIGMA = 0.036  # of the side: 8 px of 224
NOISE_SIGMA = 90.0  # gray levels
COARSEST = 1 / 16  # of the side
DARKEST, BRIGHTEST = -4.5, 2.0  # stops
COVERED = 0.85  # of the face's region
# The face's region in a crop: an ellipse, as shares of the side.
CENTER = (0.5, 0.5)
HALF_AXES = (0.34, 0.42)
SHAPES = 12  # pieces at most that cover a face
# Photos that C-Net learns from and is measured on are at least this bad.
BAD = 0.5
TWICE = 0.3  # of them are bad in two ways


def degrade_badly(image: Image, rng: np.random.Generator) -> Image:
    """A copy of a crop (S, S, 3) that is bad in one or two ways, by strengths from 0.5 to 1."""
    kinds = rng.choice(len(KINDS), 2 if rng.random() < TWICE else 1, replace=False)
    # What hides the face is in front of the camera; the camera spoils everything.
    for k in sorted(kinds, reverse=True):
        image = degrade(image, KINDS[k], rng.uniform(BAD, 1), rng)
    return image


def degrade(image: Image, kind: Kind, strength: float, rng: np.random.Generator) -> Image:
    """A copy of a crop that is bad in one way.

    * `blur`: Gaussian, its standard deviation up to 0.036 of the side;
    * `noise`: Gaussian, its standard deviation up to 90 gray levels;
    * `resolution`: lost, down to a sixteenth (the side's logarithm is linear in the strength);
    * `exposure`: up to 4.5 stops too dark or 2 stops too bright;
    * `occlusion`: shapes of one color, or of other parts of the picture, over up to 85% of an
      ellipse about the face.

    Args:
        image: (S, S, 3) uint8.
        kind: see above.
        strength: 0 (as it is) to 1.
        rng: decides what is left open.

    Returns:
        (S, S, 3) uint8.

    Raises:
        ValueError: the strength is not between 0 and 1.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be between 0 and 1, got {strength}")
    if strength == 0:
        return image.copy()
    side = len(image)
    if kind == "blur":
        return cv2.GaussianBlur(image, (0, 0), BLUR_SIGMA * side * strength).astype(np.uint8)
    if kind == "noise":
        noise = rng.standard_normal(image.shape, np.float32) * np.float32(NOISE_SIGMA * strength)
        return (image + noise).clip(0, 255).astype(np.uint8)
    if kind == "resolution":
        small = max(1, round(side * COARSEST**strength))
        coarse = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    if kind == "exposure":
        stops = strength * (DARKEST if rng.random() < 0.5 else BRIGHTEST)
        levels = (np.arange(256) * 2.0**stops).clip(0, 255).round().astype(np.uint8)
        return levels[image]
    return _cover(image, COVERED * strength, rng)


def _cover(image: Image, share: float, rng: np.random.Generator) -> Image:
    """Cover about `share` of the face's ellipse, from one side or from anywhere."""
    side = len(image)
    face = np.zeros((side, side), np.uint8)
    center = tuple(round(c * side) for c in CENTER)
    cv2.ellipse(face, center, tuple(round(a * side) for a in HALF_AXES), 0, 0, 360, 1, -1)
    goal = share * face.sum()
    hidden = np.zeros_like(face)
    out = image.copy()
    for _ in range(SHAPES):
        missing = goal - (hidden & face).sum()
        if missing < 0.02 * face.sum():
            break
        piece = _piece(side, float(missing), rng)
        hidden |= piece
        out[piece > 0] = _filling(image, rng)[piece > 0]
    return out


def _piece(side: int, area: float, rng: np.random.Generator) -> Image:
    """A mask (S, S) of a turned rectangle or ellipse of about this area near the face."""
    ratio = np.exp(rng.uniform(-0.8, 0.8))
    half = np.sqrt(area * ratio) / 2, np.sqrt(area / ratio) / 2
    offset = rng.uniform(-0.8, 0.8, 2) * HALF_AXES
    x, y = (np.array(CENTER) + offset) * side
    turn = rng.uniform(0, 180)
    mask = np.zeros((side, side), np.uint8)
    if rng.random() < 0.5:
        axes = round(half[0] * 1.13), round(half[1] * 1.13)  # the rectangle's area
        cv2.ellipse(mask, (round(x), round(y)), axes, turn, 0, 360, 1, -1)
    else:
        corners = cv2.boxPoints(((x, y), (2 * half[0], 2 * half[1]), turn))
        cv2.fillConvexPoly(mask, corners.round().astype(np.int32), 1)
    return mask


def _filling(image: Image, rng: np.random.Generator) -> Image:
    """What covers: one color, or the picture itself from elsewhere."""
    if rng.random() < 0.5:
        return np.broadcast_to(rng.integers(0, 256, 3).astype(np.uint8), image.shape)
    shift = rng.integers(len(image) // 3, 2 * len(image) // 3, 2)
    return np.roll(image[::-1], shift, (0, 1))
