"""How likely a pixel shows skin, judged by its color: the attention of the photometric loss."""

from facewright.training.skin.probability import skin_attention, skin_probability

__all__ = ["skin_attention", "skin_probability"]
