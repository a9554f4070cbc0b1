"""Who is in a portrait and what the face does: identity and expression coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facewright.models.arrays import Array, FloatArray
from facewright.training.synthetic.head import Head
from facewright.training.synthetic.traits import Traits

IntArray = NDArray[np.int64]

# The subject's left is the image's right.
_SIDES = ("Left", "Right")
_UPPER_LID = np.array([[43, 44], [37, 38]])
_LOWER_LID = np.array([[47, 46], [41, 40]])
_UPPER_LIP, _LOWER_LIP = np.array([61, 62, 63]), np.array([67, 66, 65])
# Lids of closed eyes overlap a little on the landmarks.
_CLOSED_MM = (-1.2, -0.2)
# Units that move landmarks less than this (mm) do not open or close anything.
_SMALLEST_GAIN = 2.0
_MOUTHS = {"rest": 0.13, "smile": 0.27, "open": 0.22, "speech": 0.12, "pressed": 0.06,
           "puffed": 0.04, "kiss": 0.04, "unhappy": 0.05, "any": 0.07}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Person:
    """The shape of a person, sigma units: identity (80,), residual (R,), and what it tells."""

    identity: FloatArray
    residual: FloatArray
    traits: Traits


def draw_person(rng: np.random.Generator, head: Head) -> Person:
    """A person near a sampled one or, as often, from a Gaussian."""
    size, rest = head.identity_samples.shape[1], head.residual_samples.shape[1]
    if rng.random() < 0.5:
        row = rng.integers(len(head.identity_samples))
        identity = head.identity_samples[row] + 0.4 * rng.standard_normal(size)
        residual = head.residual_samples[row] + 0.2 * rng.standard_normal(rest)
    else:
        identity = rng.standard_normal(size) * rng.uniform(0.75, 1.2)
        residual = rng.standard_normal(rest)
    identity = identity.astype(np.float32)
    return Person(identity, residual.astype(np.float32), head.traits.draw(rng, identity))


def draw_expression(rng: np.random.Generator, head: Head, identity: FloatArray) -> FloatArray:
    """(64,) expression of the person with an identity (80,).

    Mouth, brows and lids are drawn apart, so that all combinations occur, and strengths evenly:
    what a training set shows rarely, a network tones down.
    """
    expression = _mouth(rng, head) + _brows(rng, head)
    sample = head.expression_samples[rng.integers(len(head.expression_samples))]
    if rng.random() < 0.5:
        expression = expression + sample * rng.uniform(0, 0.25)
    rows = np.concatenate([_UPPER_LIP, _LOWER_LIP, _UPPER_LID.ravel(), _LOWER_LID.ravel()])
    face = _Heights(head, identity, rows)
    expression = _part_lips(rng, head, face, expression)
    return _lids(rng, head, face, expression).astype(np.float32)


class _Heights:
    """Heights (mm) of some landmarks of a person as a linear function of the expression."""

    def __init__(self, head: Head, identity: FloatArray, rows: IntArray) -> None:
        n_identity = len(identity)
        self._place = {int(row): k for k, row in enumerate(rows)}
        columns = 3 * rows + 1
        basis = head.landmark_basis[:, columns]
        self._neutral = head.landmark_mean[rows, 1] + identity @ basis[:n_identity]
        self._slope = basis[n_identity:]

    def gap(self, upper: IntArray, lower: IntArray, expression: FloatArray | None = None) -> float:
        """Mean mm by which `upper` landmarks are above `lower` ones; neutral without one."""
        heights = self._neutral if expression is None else self._neutral + expression @ self._slope
        return float(np.mean([heights[self._place[u]] - heights[self._place[v]]
                              for u, v in zip(upper, lower, strict=True)]))  # fmt: skip

    def gain(self, upper: IntArray, lower: IntArray, unit: FloatArray) -> float:
        """Change of the gap, mm, by a unit at full strength."""
        return self.gap(upper, lower, unit) - self.gap(upper, lower)


def _unit(head: Head, name: str) -> FloatArray:
    return head.units.get(name, np.zeros(head.expression_samples.shape[1], np.float32))


def _both_sides(rng: np.random.Generator, head: Head, name: str, amount: float) -> Array:
    """A unit on both sides, about equally strong; on one face in five one side lags behind."""
    strengths = amount * rng.uniform(0.85, 1.1, 2)
    if rng.random() < 0.2:
        strengths[rng.integers(2)] *= rng.random()
    return sum(
        (s * _unit(head, name + side) for s, side in zip(strengths, _SIDES, strict=True)),
        np.zeros(head.expression_samples.shape[1]),
    )


def _now_and_then(rng: np.random.Generator, chance: float, low: float, high: float) -> float:
    return float(rng.uniform(low, high)) if rng.random() < chance else 0.0


def _mouth(rng: np.random.Generator, head: Head) -> FloatArray:
    """What mouth, jaw and cheeks do."""

    def one(name: str, amount: float) -> FloatArray:
        return amount * _unit(head, name)

    def both(name: str, amount: float) -> Array:
        return _both_sides(rng, head, name, amount)

    kind = str(rng.choice(list(_MOUTHS), p=list(_MOUTHS.values())))
    if kind == "rest":
        out = both("mouthSmile", _now_and_then(rng, 0.4, 0, 0.2)) + one(
            "jawOpen", _now_and_then(rng, 0.3, 0, 0.08)
        )
    elif kind == "smile":
        strength, toothy = rng.uniform(0.1, 1.0), _now_and_then(rng, 0.68, 0.3, 1.0)
        out = (
            both("mouthSmile", strength)
            + both("cheekSquint", strength * rng.uniform(0, 0.9))
            + both("mouthDimple", _now_and_then(rng, 0.2, 0, 0.6))
            + both("mouthUpperUp", toothy * rng.uniform(0.4, 1.0))
            + both("mouthLowerDown", toothy * rng.uniform(0.1, 0.9))
            + one("jawOpen", toothy * _now_and_then(rng, 0.6, 0.0, 0.4))
        )
    elif kind == "open":
        out = (
            one("jawOpen", rng.uniform(0.08, 1.0))
            + both("mouthSmile", _now_and_then(rng, 0.4, 0, 1.0))
            + both("mouthStretch", _now_and_then(rng, 0.2, 0, 0.8))
            + both("mouthUpperUp", _now_and_then(rng, 0.35, 0, 0.8))
            + both("mouthLowerDown", _now_and_then(rng, 0.35, 0, 0.8))
            + both("mouthFrown", _now_and_then(rng, 0.12, 0, 0.8))
        )
        rounded = rng.random()
        if rounded < 0.2:
            out = out + one("mouthFunnel", rng.uniform(0, 1.0))
        elif rounded < 0.35:
            out = out + one("mouthPucker", rng.uniform(0, 0.9))
    elif kind == "speech":
        out = (
            one("jawOpen", rng.uniform(0.0, 0.5))
            + one("mouthFunnel", _now_and_then(rng, 0.5, 0, 0.9))
            + one("mouthPucker", _now_and_then(rng, 0.4, 0, 0.7))
            + one("mouthRollLower", _now_and_then(rng, 0.15, 0, 0.7))
            + both("mouthLowerDown", rng.uniform(0, 0.6))
            + both("mouthUpperUp", _now_and_then(rng, 0.3, 0, 0.5))
            + both("mouthStretch", _now_and_then(rng, 0.2, 0, 0.5))
        )
    elif kind == "pressed":
        out = (
            both("mouthPress", rng.uniform(0.2, 1.0))
            + one("mouthRollUpper", _now_and_then(rng, 0.5, 0, 1.0))
            + one("mouthRollLower", _now_and_then(rng, 0.5, 0, 1.0))
            + one("mouthShrugLower", _now_and_then(rng, 0.3, 0, 0.8))
            + both("mouthSmile", _now_and_then(rng, 0.3, 0, 0.6))
        )
    elif kind == "puffed":
        out = (
            one("cheekPuff", rng.uniform(0.3, 1.0))
            + one("mouthPucker", _now_and_then(rng, 0.5, 0, 0.8))
            + both("mouthPress", _now_and_then(rng, 0.4, 0, 0.6))
        )
    elif kind == "kiss":
        out = (
            one("mouthPucker", rng.uniform(0.4, 1.0))
            + one("mouthFunnel", _now_and_then(rng, 0.4, 0, 0.5))
            + one("jawOpen", _now_and_then(rng, 0.3, 0, 0.1))
        )
    elif kind == "unhappy":
        out = (
            both("mouthFrown", rng.uniform(0.1, 1.0))
            + one("mouthShrugLower", _now_and_then(rng, 0.5, 0, 1.0))
            + both("noseSneer", _now_and_then(rng, 0.4, 0, 1.0))
            + both("mouthUpperUp", _now_and_then(rng, 0.3, 0, 0.8))
            + both("mouthStretch", _now_and_then(rng, 0.3, 0, 0.8))
        )
    else:
        chosen = head.expression_samples[rng.integers(len(head.expression_samples))]
        out = chosen * rng.uniform(0.3, 1.0)
    side = str(rng.choice(_SIDES))
    return (
        out
        + one("mouth" + side, _now_and_then(rng, 0.08, 0, 0.8))
        + one("jaw" + side, _now_and_then(rng, 0.08, 0, 0.8))
        + one("jawForward", _now_and_then(rng, 0.06, 0, 0.8))
    )


def _brows(rng: np.random.Generator, head: Head) -> Array:
    kind = rng.random()
    if kind < 0.3:
        return rng.uniform(0, 1) * _unit(head, "browInnerUp") + _both_sides(
            rng, head, "browOuterUp", rng.uniform(0, 1) * (rng.random() < 0.7)
        )
    if kind < 0.55:
        return _both_sides(rng, head, "browDown", rng.uniform(0, 1))
    return np.zeros(head.expression_samples.shape[1])


def _part_lips(
    rng: np.random.Generator, head: Head, face: _Heights, expression: FloatArray
) -> FloatArray:
    """Lips of some people and expressions would pass through each other: open the jaw a bit."""
    gap = face.gap(_UPPER_LIP, _LOWER_LIP, expression)
    jaw = _unit(head, "jawOpen")
    gain = face.gain(_UPPER_LIP, _LOWER_LIP, jaw)
    if gain < _SMALLEST_GAIN or gap > 0:
        return expression
    wanted = float(rng.uniform(0, 0.6))
    return expression + min((wanted - gap) / gain, 0.3) * jaw


def _lids(
    rng: np.random.Generator, head: Head, face: _Heights, expression: FloatArray
) -> FloatArray:
    """Closed, half closed, winking, narrowed, wide or simply open eyes."""
    kind = rng.random()
    if kind < 0.12:
        openness: tuple[float | None, float | None] = None, None
    elif kind < 0.27:
        # As far as the person can see at all; the two lids of a person hardly differ.
        both = rng.uniform(0.1, 0.8)
        openness = both + rng.normal(0, 0.03), both + rng.normal(0, 0.03)
    elif kind < 0.3:
        openness = (None, rng.uniform(0.4, 1.0)) if rng.random() < 0.5 else (
            rng.uniform(0.4, 1.0), None)  # fmt: skip
    else:
        if kind < 0.55:
            expression = expression + _both_sides(rng, head, "eyeSquint", rng.uniform(0, 0.9))
        elif kind < 0.65:
            expression = expression + _both_sides(rng, head, "eyeWide", rng.uniform(0.1, 1.0))
        lowered = rng.beta(1.5, 5.0) * 0.35
        for side in _SIDES:
            blink = lowered * rng.uniform(0.94, 1.06)
            expression = expression + blink * _unit(head, "eyeBlink" + side)
        return expression
    for which, (side, share) in enumerate(zip(_SIDES, openness, strict=True)):
        upper, lower, unit = _UPPER_LID[which], _LOWER_LID[which], _unit(head, "eyeBlink" + side)
        gain = face.gain(upper, lower, unit)
        if gain > -_SMALLEST_GAIN:
            continue
        wanted = rng.uniform(*_CLOSED_MM)
        if share is not None:
            wanted = float(np.clip(share, 0.05, 1.0)) * face.gap(upper, lower)
        missing = wanted - face.gap(upper, lower, expression)
        expression = expression + np.clip(missing / gain, -0.3, 1.5) * unit
    return expression
