"""Learning what blendshapes are worth, of made-up people."""

import numpy as np
import pytest

from facewright.models.blendshape_names import ARKIT_BLENDSHAPES
from facewright.models.layout import LAYOUT_239
from facewright.training.evaluation.blendshapes import LANDMARKER_ORDER
from facewright.training.evaluation.calibration import calibrate


def test_what_follows_the_coefficients_is_learned_and_the_rest_left() -> None:
    rng = np.random.default_rng(3)
    coefficients = rng.normal(size=(900, 239)).astype(np.float32)
    parts = LAYOUT_239.split(coefficients)
    told = np.zeros((900, 52))
    jaw, smile, pucker = (
        LANDMARKER_ORDER.index(name) for name in ("jawOpen", "mouthSmileLeft", "mouthPucker")
    )
    told[:, jaw] = 0.4 + 0.1 * parts.expression[:, 2]
    # Half of what is told of smiles nobody can know.
    noise = rng.normal(size=900)
    told[:, smile] = 0.5 + 0.07 * (parts.expression[:, 5] + noise)
    told[:, pucker] = rng.uniform(size=900)
    found = calibrate(LAYOUT_239, coefficients, told, "abc")
    assert found.names == ("jawOpen", "mouthSmileLeft")
    assert found.weights_sha256 == "abc"

    new = rng.normal(size=(400, 144)).astype(np.float32)
    own = np.stack([found.calibrated(np.zeros(52, np.float32), one[:64], one[64:]) for one in new])
    jaws = own[:, ARKIT_BLENDSHAPES.index("jawOpen")]
    assert jaws == pytest.approx(0.4 + 0.1 * new[:, 2], abs=0.06)
    # It moves as far as what it learned from, where a regression would move less.
    smiles = own[:, ARKIT_BLENDSHAPES.index("mouthSmileLeft")]
    assert smiles.std() == pytest.approx(told[:, smile].std(), rel=0.12)
