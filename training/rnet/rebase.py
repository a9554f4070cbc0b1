"""Carry R-Net over to another build of the face model.

A rebuilt face model has nearly the same mean and modes, but coefficients are theirs. The shapes and
colors that R-Net says are kept: its last layer is composed with the affine map that gives the
coefficients of the new model whose surface is nearest to that of the old ones.
"""

from __future__ import annotations

import numpy as np
import torch

from facewright.models.arrays import DoubleArray
from facewright.models.morphable_model import PART_SKIN, MorphableModel
from facewright.models.rnet_torch import RNet


class RebaseError(ValueError):
    """The models do not share a mesh, or the checkpoint belongs to neither."""


def coefficient_map(
    old: DoubleArray, new: DoubleArray, shift: DoubleArray | None = None
) -> tuple[DoubleArray, DoubleArray]:
    """Least-squares map of coefficients between bases.

    Args:
        old: (k, n) basis, rows are modes.
        new: (k, n) basis.
        shift: (n,) how much the old mean is off the new one; none by default.

    Returns:
        (k, k) matrix and (k,) offset: `matrix @ c + offset` in the new basis is nearest to
        `c` in the old one.
    """
    gram = np.linalg.inv(new @ new.T)
    matrix = gram @ new @ old.T
    offset = np.zeros(len(new)) if shift is None else gram @ new @ shift
    return matrix, offset


def rebase(rnet: RNet, old: MorphableModel, new: MorphableModel) -> float:
    """Compose the last layer, in place, with the map from the coefficients of `old` to `new`.

    Returns the largest root mean square, in mm, by which an old identity mode of one sigma is off
    its image in the new model.

    Raises:
        RebaseError: the two models have different meshes.
    """
    if not np.array_equal(old.triangles, new.triangles):
        raise RebaseError("the two face models have different meshes")
    skin = new.parts == PART_SKIN

    def flat(model: MorphableModel, which: str) -> DoubleArray:
        n_id, n_ex = model.n_identity, model.n_expression
        mean = model.mean_vertices
        if which == "identity":
            fields = model.shape(np.eye(n_id), np.zeros((n_id, n_ex))) - mean
        elif which == "expression":
            fields = model.shape(np.zeros((n_ex, n_id)), np.eye(n_ex)) - mean
        else:
            fields = model.albedo(np.eye(model.n_albedo)) - model.mean_albedo
        return np.asarray(fields[:, skin], np.float64).reshape(len(fields), -1)

    weight, bias = rnet.fc.weight, rnet.fc.bias
    worst = 0.0
    # Means differ by what the old one is off the new one; where the origin lies is the pose's.
    off = (old.mean_vertices - new.mean_vertices)[skin].astype(np.float64)
    shifts = {
        "identity": (off - off.mean(axis=0)).ravel(),
        "expression": None,
        "albedo": (old.mean_albedo - new.mean_albedo)[skin].astype(np.float64).ravel(),
    }
    for part, shift in shifts.items():
        before, after = flat(old, part), flat(new, part)
        matrix, offset = coefficient_map(before, after, shift)
        rows = getattr(rnet.layout, part)
        with torch.no_grad():
            weight[rows] = torch.from_numpy(matrix).to(weight) @ weight[rows]
            bias[rows] = torch.from_numpy(matrix).to(bias) @ bias[rows] + torch.from_numpy(
                offset
            ).to(bias)
        if part == "identity":
            rest = (before - matrix.T @ after).reshape(len(before), -1, 3)
            worst = float(np.sqrt((rest**2).sum(axis=2).mean(axis=1)).max())
    return worst
