"""Who is in a portrait and what the face does: identity and expression coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.synthetic.head import Head

FloatArray = NDArray[np.float32]

_SIDES = ("Left", "Right")


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Coefficients of N heads, sigma units: identity (N, 80), expression (N, 64), residual."""

    identity: FloatArray
    expression: FloatArray
    residual: FloatArray


def draw_coefficients(rng: np.random.Generator, head: Head, count: int) -> Coefficients:
    """Draw ``count`` heads: half near sampled people, half from a Gaussian."""
    people = [_person(rng, head) for _ in range(count)]
    return Coefficients(
        identity=np.stack([identity for identity, _ in people]),
        expression=np.stack([draw_expression(rng, head) for _ in range(count)]),
        residual=np.stack([residual for _, residual in people]),
    )


def _person(rng: np.random.Generator, head: Head) -> tuple[FloatArray, FloatArray]:
    """Identity (80,) and residual (R,) coefficients."""
    size, rest = head.identity_samples.shape[1], head.residual_samples.shape[1]
    if rng.random() < 0.5:
        row = rng.integers(len(head.identity_samples))
        identity = head.identity_samples[row] + 0.4 * rng.standard_normal(size)
        residual = head.residual_samples[row] + 0.2 * rng.standard_normal(rest)
    else:
        identity = rng.standard_normal(size) * rng.uniform(0.75, 1.2)
        residual = rng.standard_normal(rest)
    return identity.astype(np.float32), residual.astype(np.float32)


def draw_expression(rng: np.random.Generator, head: Head) -> FloatArray:
    """(64,) expression: near neutral, smiling, talking or anything the units can do."""
    sample = head.expression_samples[rng.integers(len(head.expression_samples))]
    kind = rng.random()
    if kind < 0.28:
        expression = sample * rng.uniform(0, 0.35)
    elif kind < 0.62:
        expression = _smile(rng, head) + 0.2 * sample
    elif kind < 0.74:
        expression = _talk(rng, head) + 0.2 * sample
    else:
        expression = sample * rng.uniform(0.4, 1.0)
    if rng.random() < 0.5:
        narrowed = rng.uniform(0.0, 0.7)
        expression = expression + _both_sides(rng, head, "eyeSquint", narrowed)
    if rng.random() < 0.16:
        closed = rng.uniform(0.25, 1.0)
        for side in _SIDES:
            expression = expression + closed * _unit(head, "eyeBlink" + side)
    return expression.astype(np.float32)


def _unit(head: Head, name: str) -> FloatArray:
    return head.units.get(name, np.zeros(head.expression_samples.shape[1], np.float32))


def _both_sides(rng: np.random.Generator, head: Head, name: str, amount: float) -> FloatArray:
    sides = [amount * rng.uniform(0.8, 1.15) * _unit(head, name + side) for side in _SIDES]
    return sides[0] + sides[1]


def _smile(rng: np.random.Generator, head: Head) -> FloatArray:
    strength = rng.uniform(0.2, 0.95)
    toothy = rng.uniform(0.3, 1.0) if rng.random() < 0.65 else 0.0
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
    )
