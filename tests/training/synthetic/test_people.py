from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from facewright.training.synthetic.people import draw_expression

_BLINK_LEFT, _BLINK_RIGHT, _JAW, _PUFF = range(4)
_OPEN_MM = 10.0


@pytest.fixture(scope="module")
def puppet():
    """A head whose first expression coefficients each do one thing, and nothing else moves."""
    landmarks = np.zeros((68, 3), np.float32)
    landmarks[[37, 38, 43, 44], 1] = _OPEN_MM
    basis = np.zeros((80 + 64, 68, 3), np.float32)
    # A full blink of these people goes too far.
    basis[80 + _BLINK_LEFT, [43, 44], 1] = -1.3 * _OPEN_MM
    basis[80 + _BLINK_RIGHT, [37, 38], 1] = -1.3 * _OPEN_MM
    basis[80 + _JAW, 65:68, 1] = -35.0
    basis[80 + _PUFF, 65:68, 1] = 3.0
    # Identities with larger and smaller eyes.
    basis[0, [37, 38, 43, 44], 1] = 3.0
    names = {"eyeBlinkLeft": _BLINK_LEFT, "eyeBlinkRight": _BLINK_RIGHT, "jawOpen": _JAW,
             "cheekPuff": _PUFF}  # fmt: skip
    return SimpleNamespace(
        landmark_mean=landmarks,
        landmark_basis=basis.reshape(len(basis), -1),
        units={name: np.eye(64, dtype=np.float32)[k] for name, k in names.items()},
        expression_samples=np.zeros((5, 64), np.float32),
    )


@pytest.fixture(scope="module")
def gaps(puppet) -> tuple[np.ndarray, np.ndarray]:
    """Of 800 faces, in mm: eyes (N, 2), relative to the person's own, and lips (N,)."""
    eyes, lips = [], []
    for seed in range(800):
        rng = np.random.default_rng(seed)
        identity = rng.standard_normal(80).astype(np.float32)
        expression = draw_expression(rng, puppet, identity)
        assert expression.shape == (64,)
        assert expression.dtype == np.float32
        weights = np.concatenate([identity, expression])
        y = ((weights @ puppet.landmark_basis).reshape(68, 3) + puppet.landmark_mean)[:, 1]
        own = _OPEN_MM + 3 * identity[0]
        lids = [y[[37, 38]].mean() - y[[41, 40]].mean(), y[[43, 44]].mean() - y[[47, 46]].mean()]
        eyes.append(np.array(lids) / max(own, 3.0))
        lips.append(float(y[61:64].mean() - y[65:68].mean()))
    return np.array(eyes), np.array(lips)


def test_lids_close_whatever_the_size_of_the_eyes(gaps):
    eyes, _ = gaps
    closed = (eyes < 0.02).all(1)
    assert 0.08 < closed.mean() < 0.17
    # Closed, not pulled over the lower lid.
    assert np.quantile(eyes[closed], 0.1) > -0.35
    partly = ((eyes > 0.08) & (eyes < 0.62)).all(1)
    assert 0.07 < partly.mean() < 0.3
    winking = (eyes.min(1) < 0.02) & (eyes.max(1) > 0.35)
    assert 0.005 < winking.mean() < 0.06


def test_mouths_open_by_all_amounts_and_lips_do_not_cross(gaps):
    _, lips = gaps
    assert lips.min() > -0.1
    wide = lips[lips > 5]
    assert wide.max() > 30
    counts = np.histogram(wide, bins=[5, 12, 19, 26, 33])[0]
    assert counts.min() > 0.25 * counts.max()
    assert 0.3 < (lips < 2).mean() < 0.75


def test_same_state_same_face(puppet):
    identity = np.zeros(80, np.float32)
    first, second = (draw_expression(np.random.default_rng(3), puppet, identity) for _ in "ab")
    assert np.array_equal(first, second)
