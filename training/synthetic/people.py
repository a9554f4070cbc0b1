"""Who is in a portrait and what the face does: identity and expression coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facewright.training.synthetic.head import Head
from facewright.training.synthetic.traits import Traits

FloatArray = NDArray[np.float32]

_SIDES = ("Left", "Right")


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


def draw_expression(rng: np.random.Generator, head: Head) -> FloatArray:
    """(64,) expression: near neutral, smiling, talking or anything the units can do."""
    sample = head.expression_samples[rng.integers(len(head.expression_samples))]
    kind = rng.random()
    if kind < 0.25:
        expression = sample * rng.uniform(0, 0.35)
    elif kind < 0.62:
        expression = _smile(rng, head) + 0.2 * sample
    elif kind < 0.82:
        expression = _talk(rng, head) + 0.25 * sample
    else:
        expression = sample * rng.uniform(0.4, 1.0)
    if rng.random() < 0.4:
        narrowed = rng.uniform(0.0, 0.5)
        expression = expression + _both_sides(rng, head, "eyeSquint", narrowed)
    # The lids of a face at rest cover the top of the iris, more or less.
    lowered = rng.beta(1.5, 5.0) * 0.35
    if rng.random() < 0.12:
        lowered = rng.uniform(0.4, 1.0)
    return (expression + _both_sides(rng, head, "eyeBlink", lowered)).astype(np.float32)


def _unit(head: Head, name: str) -> FloatArray:
    return head.units.get(name, np.zeros(head.expression_samples.shape[1], np.float32))


def _both_sides(rng: np.random.Generator, head: Head, name: str, amount: float) -> FloatArray:
    low, high = (0.96, 1.04) if name == "eyeBlink" else (0.8, 1.15)
    sides = [amount * rng.uniform(low, high) * _unit(head, name + side) for side in _SIDES]
    return sides[0] + sides[1]


def _smile(rng: np.random.Generator, head: Head) -> FloatArray:
    strength = rng.uniform(0.2, 0.95)
    toothy = rng.uniform(0.3, 1.0) if rng.random() < 0.6 else 0.0
    return (
        _both_sides(rng, head, "mouthSmile", strength)
        + _both_sides(rng, head, "cheekSquint", strength * rng.uniform(0, 0.6))
        + _both_sides(rng, head, "eyeSquint", strength * rng.uniform(0, 0.5))
        + _both_sides(rng, head, "mouthUpperUp", toothy * rng.uniform(0.4, 1.0))
        + _both_sides(rng, head, "mouthLowerDown", toothy * rng.uniform(0.1, 0.9))
        + toothy * rng.uniform(0.0, 0.4) * _unit(head, "jawOpen")
    )


def _talk(rng: np.random.Generator, head: Head) -> FloatArray:
    return (
        rng.uniform(0.05, 0.6) * _unit(head, "jawOpen")
        + rng.uniform(0, 0.6) * _unit(head, "mouthFunnel")
        + rng.uniform(0, 0.4) * _unit(head, "mouthPucker")
        + _both_sides(rng, head, "mouthLowerDown", rng.uniform(0, 0.5))
        + _both_sides(rng, head, "browDown", rng.uniform(-0.3, 0.5))
    )
