"""Synthetic files of the shapes and conventions that holders of a Basel license have.

Nobody's face: a mask made by formulas with a slit for a mouth, and random modes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.io import savemat

from facewright.models.resnet_torch import ResNet50
from tests.face_models import grid_triangles

FRONT_VERTICES = 35_709
"""Of BFM_model_front.mat."""
FULL_SIDE = 189
"""Of a grid with as many vertices and a few more."""

HEADS = (80, 64, 80, 3, 27, 2, 1)
OFFSET = np.array([0.02, -0.31, 0.47])


def landmark_positions() -> NDArray[np.float64]:
    """(68, 2) mm: a schematic frontal face in the order of iBUG."""
    turn = np.linspace(0, np.pi, 17)
    jaw = np.stack([-64 * np.cos(turn), 20 - 85 * np.sin(turn)], 1)
    brow = np.stack([15 * np.linspace(-1, 1, 5), np.full(5, 52.0)], 1)
    bridge = np.stack([np.zeros(4), np.linspace(33, 0, 4)], 1)
    nostrils = np.stack([np.linspace(-14, 14, 5), np.full(5, -13.0)], 1)
    eye = np.array([[-14, 0], [-5, 5], [5, 5], [14, 0], [5, -5], [-5, -5]], float)
    around = np.linspace(np.pi, -np.pi, 13)[:-1]
    lips = np.stack([25 * np.cos(around), 11 * np.sin(around)], 1) + (0, -38)
    around = np.linspace(np.pi, -np.pi, 9)[:-1]
    inner = np.stack([18 * np.cos(around), 6 * np.sin(around)], 1) + (0, -38)
    brows, eyes = [brow + (-32, 0), brow + (32, 0)], [eye + (-31, 33), eye + (31, 33)]
    return np.concatenate([jaw, *brows, bridge, nostrils, *eyes, lips, inner])


def front_arrays(side: int, vertices: int | None = None, seed: int = 0) -> dict[str, Any]:
    """The arrays of BFM_model_front.mat: units of 100 mm, colors 0-255, 1-based indices.

    The mask is a grid of `side` x `side` vertices without the last ones.
    """
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-75, 75, side), np.linspace(90, -90, side))
    z = 75 * np.sqrt(1.6 - (x / 80) ** 2 * 0.8 - (y / 95) ** 2 * 0.7)
    z += 18 * np.exp(-((x / 12) ** 2) - ((y - 2) / 16) ** 2)
    mesh = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    count = vertices or len(mesh)
    triangles = grid_triangles(side, side)
    middle = mesh[triangles].mean(axis=1)
    mouth = (np.abs(middle[:, 0]) < 16) & (np.abs(middle[:, 1] + 38) < 4)
    triangles = triangles[~mouth & (triangles < count).all(axis=1)]
    mesh = mesh[:count]
    apart = np.linalg.norm(mesh[:, None, :2] - landmark_positions(), axis=2)

    def modes(number: int, sigma: float) -> NDArray[np.float32]:
        decay = (sigma / np.arange(1, number + 1) ** 0.7).astype(np.float32)
        return rng.standard_normal((3 * count, number), np.float32) * decay

    return {
        "meanshape": (mesh / 100 + OFFSET).astype(np.float32).reshape(1, -1),
        "idBase": modes(80, 2e-3),
        "exBase": modes(64, 1e-3),
        "meantex": rng.uniform(60, 200, (1, 3 * count)).astype(np.float32),
        "texBase": modes(80, 4.0),
        "tri": (triangles + 1).astype(np.float64),
        "point_buf": np.ones((count, 8)),
        "tri_mask2": np.ones((5, 1)),
        "keypoints": (apart.argmin(axis=0)[None] + 1).astype(np.uint16),
        "frontmask2_idx": np.ones((5, 1)),
        "skinmask": (np.abs(mesh[:, :1].T) < 40).astype(np.float64),
    }


def write_basel(folder: Path, side: int) -> NDArray[np.float64]:
    """Write BFM_model_front.mat and the files that it is made from; the template's landmarks.

    The original mesh has vertices that the expressions' part lacks, and that one some that the face
    lacks, all in an order of their own.
    """
    arrays = front_arrays(side)
    savemat(folder / "BFM_model_front.mat", arrays)
    rng = np.random.default_rng(1)
    count = arrays["meanshape"].size // 3
    in_part, in_whole = count + 50, count + 90
    of_part = rng.permutation(in_part)[:count]
    part = rng.permutation(in_whole)[:in_part]
    rows = part[of_part]

    def spread(values: NDArray[Any], places: NDArray[Any], size: int) -> NDArray[np.float64]:
        blocks = rng.standard_normal((size, 3, values.shape[1]))
        blocks[places] = values.reshape(count, 3, -1)
        return blocks.reshape(3 * size, -1)

    def basis(values: NDArray[Any], unit: float) -> tuple[NDArray[Any], NDArray[Any]]:
        """Modes of another length, more of them than are used, and their deviations."""
        sigma = rng.uniform(1, 9, values.shape[1] + 9)
        wide = rng.standard_normal((len(values), len(sigma)))
        wide[:, : values.shape[1]] = values.astype(np.float64) * unit / sigma[: values.shape[1]]
        return wide, sigma

    shape, shape_sigma = basis(arrays["idBase"], 1e5)
    color, color_sigma = basis(arrays["texBase"], 1.0)
    savemat(
        folder / "01_MorphableModel.mat",
        {
            "shapeMU": spread(1e5 * arrays["meanshape"].reshape(-1, 1), rows, in_whole),
            "shapePC": spread(shape, rows, in_whole),
            "shapeEV": shape_sigma[:, None],
            "texMU": spread(arrays["meantex"].reshape(-1, 1), rows, in_whole),
            "texPC": spread(color, rows, in_whole),
            "texEV": color_sigma[:, None],
            "tl": np.ones((4, 3)),
        },
    )
    expression, sigma = basis(arrays["exBase"], 1e5)
    modes = spread(expression, of_part, in_part).T.astype("<f4")
    mean = np.zeros(3 * in_part, "<f4")
    file = np.array([len(modes)], "<i4").tobytes() + mean.tobytes() + modes.tobytes()
    (folder / "Exp_Pca.bin").write_bytes(file)
    np.savetxt(folder / "std_exp.txt", sigma[None])
    savemat(folder / "BFM_exp_idx.mat", {"trimIndex": part[:, None] + 1})
    savemat(folder / "BFM_front_idx.mat", {"idx": of_part[:, None] + 1})
    info = ("tri", "keypoints", "skinmask", "point_buf", "tri_mask2", "frontmask2_idx")
    savemat(folder / "facemodel_info.mat", {key: arrays[key] for key in info})
    mesh = arrays["meanshape"].reshape(-1, 3)
    landmarks: NDArray[np.float64] = (mesh - mesh.mean(axis=0))[arrays["keypoints"][0] - 1]
    savemat(folder / "similarity_Lm3D_all.mat", {"lm": landmarks})
    return landmarks


def write_checkpoint(path: Path, seed: int = 0) -> None:
    """Write a released checkpoint: random weights whose faces stay before the camera."""
    torch.manual_seed(seed)
    state = {f"backbone.{key}": v for key, v in ResNet50("torchvision").state_dict().items()}
    for index, size in enumerate(HEADS):
        state[f"final_layers.{index}.weight"] = 2e-3 * torch.randn(size, 2048, 1, 1)
        state[f"final_layers.{index}.bias"] = 0.02 * torch.randn(size)
    torch.save({"net_recon": state, "opt_00": {"state": {}}}, path)
