"""Networks that answer what they are told to."""

from __future__ import annotations

import numpy as np

from facewright.models.layout import LAYOUT_239
from facewright.training.evaluation.network import Network


def replay(rows, sha256=""):
    """A network that knows the answers, in order."""
    rest = list(rows)

    def predict(crops):
        assert crops.dtype == np.uint8
        assert crops.shape[1:] == (224, 224, 3)
        return np.stack([rest.pop(0) for _ in crops]).astype(np.float32)

    return Network(predict, LAYOUT_239, sha256)
