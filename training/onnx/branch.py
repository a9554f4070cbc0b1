"""The identity branch as a part of the ONNX graph, see `models.identity_branch_torch`."""

from __future__ import annotations

import numpy as np

from facewright.models.camera import CAMERA_DISTANCE, CROP_SIZE, FOCAL_LENGTH, TRANSLATION_UNIT
from facewright.models.chips_torch import dlib_reference
from facewright.models.identity_branch_torch import SHAPE_COEFFICIENTS, IdentityBranch
from facewright.models.recognition_torch import INPUT_SCALE, PIXEL_RANGE, FaceResNet, ResidualUnit
from facewright.models.rnet_torch import RNet
from facewright.training.onnx.builder import GraphBuilder, double

POINT_MEAN, POINT_BASIS = "branch.point_mean", "branch.point_basis"
"""The landmarks' constants: all x, then all y, then all z."""
STEM = "branch.trunk.stem"
CHIP_X = "branch.chip_x"
"""Coordinates of the chip's columns."""


def add_branch(builder: GraphBuilder, crops: str, coefficients: str, rnet: RNet) -> None:
    """Add the outputs `coefficients`, with the branch's identity, and `descriptors`.

    Args:
        builder: of the graph.
        crops: name of the crops, (N, 3, 224, 224).
        coefficients: name of R-Net's coefficients.
        rnet: network with a branch.
    """
    branch, layout = rnet.branch, rnet.layout
    assert branch is not None
    chips = _chips(builder, branch, crops, coefficients, rnet)
    features = _trunk(builder, branch, chips)
    seen = builder.node("Concat", [features, coefficients], axis=1)
    identity = builder.linear("branch.head", seen, branch.head)
    rest = builder.columns(coefficients, slice(layout.identity.stop, layout.size))
    builder.node("Concat", [identity, rest], output="coefficients", axis=1)

    raw = builder.linear("branch.trunk.head", features, branch.trunk.head)
    length = builder.node("ReduceL2", [raw], axes=[1], keepdims=1)
    builder.node("Div", [raw, length], output="descriptors")


def _chips(
    builder: GraphBuilder, branch: IdentityBranch, crops: str, coefficients: str, rnet: RNet
) -> str:
    """Cut the chips (N, 3, …) by the landmarks of R-Net's coefficients."""
    x, y, z = _landmarks(builder, branch, coefficients, rnet)
    # GridSample's coordinates: the crop spans -1 to 1, y down.
    depth = builder.node("Sub", [_number(builder, CAMERA_DISTANCE), z])
    scale = builder.node("Div", [_number(builder, FOCAL_LENGTH / (CROP_SIZE / 2)), depth])
    right = builder.node("Mul", [x, scale])
    down = builder.node("Neg", [builder.node("Mul", [y, scale])])
    points = builder.node("Concat", [right, down], axis=1)
    # The least-squares similarity from the reference to the points is linear in the points:
    # factor's real and imaginary part, and their mean.
    reference = dlib_reference(branch.chip_size).double().numpy()
    middle = reference.mean(0)
    sx, sy = (reference - middle).T / ((reference - middle) ** 2).sum()
    mean = np.full_like(sx, 1 / len(sx))
    nothing = np.zeros_like(sx)
    fit = np.block([[sx, sy], [-sy, sx], [mean, nothing], [nothing, mean]]).T
    fitted = builder.node(
        "MatMul", [points, builder.initializer("branch.fit", fit.astype(np.float32))]
    )
    shape = builder.integers("branch.fitted_shape", [0, 4, 1, 1])
    real, imaginary, mx, my = builder.split(builder.node("Reshape", [fitted, shape]), 4, axis=1)
    at = np.arange(branch.chip_size, dtype=np.float32) + 0.5
    u = builder.initializer(CHIP_X, (at - middle[0]).astype(np.float32)[None, None, :, None])
    v = builder.initializer(
        "branch.chip_y", (at - middle[1]).astype(np.float32)[None, :, None, None]
    )

    def times(a: str, b: str) -> str:
        return builder.node("Mul", [a, b])

    def plus(*terms: str) -> str:
        # The small ones first: what depends on u and v alike is a whole chip.
        first, second, third = terms
        return builder.node("Add", [builder.node("Add", [first, second]), third])

    grid = builder.node(
        "Concat",
        [
            plus(times(real, u), mx, builder.node("Neg", [times(imaginary, v)])),
            plus(times(imaginary, u), my, times(real, v)),
        ],
        axis=3,
    )
    return builder.node(
        "GridSample", [crops, grid], mode="bilinear", padding_mode="zeros", align_corners=0
    )


def _landmarks(
    builder: GraphBuilder, branch: IdentityBranch, coefficients: str, rnet: RNet
) -> list[str]:
    """Posed landmarks' x, y and z, each (N, 33) mm."""
    layout = rnet.layout
    known = builder.columns(coefficients, slice(0, SHAPE_COEFFICIENTS))
    basis = double(branch.point_basis).transpose(0, 2, 1).reshape(SHAPE_COEFFICIENTS, -1)
    mean = double(branch.point_mean).T.reshape(-1)
    shape = builder.node(
        "Gemm",
        [
            known,
            builder.initializer(POINT_BASIS, basis.astype(np.float32)),
            builder.initializer(POINT_MEAN, mean.astype(np.float32)),
        ],
    )
    x, y, z = builder.split(shape, 3, axis=1)
    angles = builder.columns(coefficients, layout.rotation)
    sines = builder.split(builder.node("Sin", [angles]), 3, axis=1)
    cosines = builder.split(builder.node("Cos", [angles]), 3, axis=1)

    def turn(a: str, b: str, axis: int) -> tuple[str, str]:
        sine, cosine = sines[axis], cosines[axis]
        ca, sb = builder.node("Mul", [cosine, a]), builder.node("Mul", [sine, b])
        sa, cb = builder.node("Mul", [sine, a]), builder.node("Mul", [cosine, b])
        return builder.node("Sub", [ca, sb]), builder.node("Add", [sa, cb])

    y, z = turn(y, z, 0)
    z, x = turn(z, x, 1)
    x, y = turn(x, y, 2)
    translation = builder.node(
        "Mul",
        [builder.columns(coefficients, layout.translation), _number(builder, TRANSLATION_UNIT)],
    )
    moves = builder.split(translation, 3, axis=1)
    return [builder.node("Add", [part, move]) for part, move in zip((x, y, z), moves, strict=True)]


def _trunk(builder: GraphBuilder, branch: IdentityBranch, chips: str) -> str:
    """The trunk's features (N, 256); its input's scale and mean go into its first layer."""
    trunk = branch.trunk
    x = builder.relu(_stem(builder, trunk, chips))
    x = builder.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2])
    side = _halved(_halved(branch.chip_size, trunk.stem.kernel_size[0]), 3)
    for index, unit in enumerate(trunk.units):
        assert isinstance(unit, ResidualUnit)
        x, side = _unit(builder, f"branch.trunk.units.{index}", x, side, unit)
    return builder.node("Flatten", [builder.node("GlobalAveragePool", [x])], axis=1)


def _stem(builder: GraphBuilder, trunk: FaceResNet, chips: str) -> str:
    weight = double(trunk.stem.weight)
    assert trunk.stem.bias is not None
    mean = double(trunk.mean).reshape(1, 3, 1, 1)
    bias = double(trunk.stem.bias) - (weight * mean).sum((1, 2, 3)) / INPUT_SCALE
    scaled = builder.weight(f"{STEM}.weight", weight * (PIXEL_RANGE / INPUT_SCALE))
    return builder.node(
        "Conv",
        [chips, scaled, builder.initializer(f"{STEM}.bias", bias.astype(np.float32))],
        kernel_shape=list(trunk.stem.kernel_size),
        strides=list(trunk.stem.stride),
    )


def _unit(
    builder: GraphBuilder, name: str, x: str, side: int, unit: ResidualUnit
) -> tuple[str, int]:
    """A unit on maps of a side; what comes out, and its side."""
    y = builder.relu(builder.conv(f"{name}.conv1", x, unit.conv1))
    y = builder.conv(f"{name}.conv2", y, unit.conv2)
    if not unit.halves:
        return builder.relu(builder.node("Add", [x, y])), side
    x = builder.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
    x_side, y_side = side // 2, _halved(side, 3)
    larger = max(x_side, y_side)
    channels = unit.conv1.out_channels - unit.conv1.in_channels
    x = _padded(builder, f"{name}.shortcut", x, channels, larger - x_side)
    y = _padded(builder, f"{name}.sum", y, 0, larger - y_side)
    return builder.relu(builder.node("Add", [x, y])), larger


def _padded(builder: GraphBuilder, name: str, x: str, channels: int, pixels: int) -> str:
    """Zeros behind the last channel, row and column."""
    if not channels and not pixels:
        return x
    pads = builder.integers(f"{name}.pads", [0] * 5 + [channels, pixels, pixels])
    return builder.node("Pad", [x, pads])


def _halved(side: int, window: int) -> int:
    """Side of the map behind a window with a stride of 2 and no padding."""
    return (side - window) // 2 + 1


def _number(builder: GraphBuilder, value: float) -> str:
    name = f"number.{value:g}"
    return builder.constant(name, np.array(value, np.float32))
