"""The names that animation software expects: ARKit's 52 blendshapes and Oculus' 15 visemes."""

from __future__ import annotations

from typing import Final

ARKIT_BLENDSHAPES: Final = (
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "eyeLookDownLeft",
    "eyeLookDownRight",
    "eyeLookInLeft",
    "eyeLookInRight",
    "eyeLookOutLeft",
    "eyeLookOutRight",
    "eyeLookUpLeft",
    "eyeLookUpRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "eyeWideLeft",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
)
"""Apple's `ARFaceAnchor.BlendShapeLocation`, in alphabetical order."""


def _both(name: str, weight: float) -> dict[str, float]:
    return {f"{name}Left": weight, f"{name}Right": weight}


VISEMES: Final[dict[str, dict[str, float]]] = {
    "viseme_sil": {},
    "viseme_PP": {
        **_both("mouthPress", 0.6),
        "mouthRollLower": 0.35,
        "mouthRollUpper": 0.35,
        "mouthPucker": 0.1,
    },
    "viseme_FF": {
        "jawOpen": 0.06,
        "mouthRollLower": 0.55,
        **_both("mouthUpperUp", 0.35),
        "mouthShrugLower": 0.15,
    },
    "viseme_TH": {
        "jawOpen": 0.16,
        "tongueOut": 0.3,
        **_both("mouthLowerDown", 0.25),
        **_both("mouthUpperUp", 0.12),
    },
    "viseme_DD": {
        "jawOpen": 0.1,
        **_both("mouthLowerDown", 0.35),
        **_both("mouthUpperUp", 0.2),
        **_both("mouthStretch", 0.1),
    },
    "viseme_kk": {
        "jawOpen": 0.2,
        **_both("mouthLowerDown", 0.3),
        **_both("mouthUpperUp", 0.15),
    },
    "viseme_CH": {
        "jawOpen": 0.08,
        "mouthFunnel": 0.55,
        "mouthPucker": 0.2,
        **_both("mouthLowerDown", 0.15),
    },
    "viseme_SS": {
        "jawOpen": 0.04,
        **_both("mouthStretch", 0.3),
        **_both("mouthLowerDown", 0.35),
        **_both("mouthUpperUp", 0.2),
        **_both("mouthSmile", 0.15),
    },
    "viseme_nn": {
        "jawOpen": 0.12,
        **_both("mouthLowerDown", 0.25),
        **_both("mouthUpperUp", 0.12),
    },
    "viseme_RR": {
        "jawOpen": 0.12,
        "mouthFunnel": 0.35,
        "mouthPucker": 0.25,
    },
    "viseme_aa": {
        "jawOpen": 0.55,
        **_both("mouthLowerDown", 0.2),
        **_both("mouthUpperUp", 0.1),
    },
    "viseme_E": {
        "jawOpen": 0.25,
        **_both("mouthStretch", 0.35),
        **_both("mouthSmile", 0.2),
        **_both("mouthLowerDown", 0.2),
    },
    "viseme_I": {
        "jawOpen": 0.16,
        **_both("mouthSmile", 0.4),
        **_both("mouthStretch", 0.2),
        **_both("mouthLowerDown", 0.2),
    },
    "viseme_O": {
        "jawOpen": 0.32,
        "mouthFunnel": 0.35,
        "mouthPucker": 0.45,
    },
    "viseme_U": {
        "jawOpen": 0.14,
        "mouthPucker": 0.75,
        "mouthFunnel": 0.2,
    },
}
"""Oculus' visemes, each as weights of the blendshapes above."""
