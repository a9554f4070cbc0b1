"""Color distributions of skin and of everything else: the published parameters.

The classifier behind the skin attention of the paper (section 4.1.1) is a naive Bayes classifier
whose two classes are mixtures of four Gaussians with full covariances over YCbCr, by ITU-R BT.601
with offsets 16 (Y) and 128 (Cb, Cr) for RGB in 0 to 255.  These are the parameters that the
paper's authors published with their code.
"""

from __future__ import annotations

from typing import Final, NamedTuple

PRIOR_OF_SKIN: Final = 0.8
"""How likely a pixel is skin before its color is known."""


class Mixture(NamedTuple):
    """Gaussians over (Y, Cb, Cr), one entry of every field per component."""

    weights: tuple[float, ...]
    means: tuple[tuple[float, float, float], ...]
    determinants: tuple[float, ...]
    """Of the covariances."""
    inverse_covariances: tuple[tuple[tuple[float, float, float], ...], ...]


SKIN: Final = Mixture(
    weights=(0.24063933, 0.16365987, 0.26034665, 0.33535415),
    means=(
        (113.71862, 103.39613, 164.08226),
        (150.19858, 105.18467, 155.51428),
        (183.92976, 107.62468, 152.7182),
        (114.90524, 113.59782, 151.38217),
    ),
    determinants=(5692842.5, 5851930.5, 2329131.0, 1585971.0),
    inverse_covariances=(
        (
            (0.0019472069, 0.0020450759, -0.00060243998),
            (0.0020450759, 0.017700525, 0.0051420014),
            (-0.00060243998, 0.0051420014, 0.008130895),
        ),
        (
            (0.0027110141, 0.001103699, 0.0023122299),
            (0.001103699, 0.010707724, 0.010742856),
            (0.0023122299, 0.010742856, 0.017481629),
        ),
        (
            (0.0048026871, 0.00022935172, 0.0077668377),
            (0.00022935172, 0.011729696, 0.0081661865),
            (0.0077668377, 0.0081661865, 0.025374353),
        ),
        (
            (0.0011989699, 0.0022453172, -0.0010748957),
            (0.0022453172, 0.047758564, 0.020332102),
            (-0.0010748957, 0.020332102, 0.024502251),
        ),
    ),
)
"""Colors of skin."""

NOT_SKIN: Final = Mixture(
    weights=(0.1279107, 0.31130761, 0.34245777, 0.21832393),
    means=(
        (99.200851, 112.07533, 140.20602),
        (110.91392, 125.52969, 130.19237),
        (129.75864, 129.96107, 126.96808),
        (112.29587, 128.85121, 129.05431),
    ),
    determinants=(458703648.0, 6466488.0, 90611376.0, 133097.63),
    inverse_covariances=(
        (
            (0.00085371657, 0.00071197288, 0.00023958916),
            (0.00071197288, 0.002593562, 0.00076557708),
            (0.00023958916, 0.00076557708, 0.0015042332),
        ),
        (
            (0.0002465015, 0.00045542428, 0.00015019422),
            (0.00045542428, 0.026412144, 0.018419769),
            (0.00015019422, 0.018419769, 0.037497383),
        ),
        (
            (0.00037054974, 0.0003814676, 0.00040408765),
            (0.0003814676, 0.0085505722, 0.0079136286),
            (0.00040408765, 0.0079136286, 0.010982352),
        ),
        (
            (0.00013709733, 0.00051228428, 0.0001277743),
            (0.00051228428, 0.28237113, 0.1052837),
            (0.0001277743, 0.1052837, 0.23468947),
        ),
    ),
)
"""Colors of everything else."""
