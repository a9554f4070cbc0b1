"""Write a head as binary glTF 2.0: one mesh per part, a skin of four joints, morph targets.

Quantized, positions and morph targets are 16-bit integers in steps of 0.01 mm
(`KHR_mesh_quantization`; the joints' inverse matrices carry the step, for the transform of a
skinned mesh's own node is ignored), targets are sparse, and normals have 8 bits.  Plain, all are
floats in meters and nothing is sparse, which every reader understands.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np

from facewright.models.arrays import Array, FloatArray
from facewright.service.formats.gltf import (
    ARRAY_BUFFER,
    BYTE,
    FLOAT,
    LINEAR_FROM_SRGB_U16,
    METERS_PER_MM,
    RESTART_SHORT,
    SHORT,
    UNLIT,
    UNSIGNED_BYTE,
    UNSIGNED_INT,
    UNSIGNED_SHORT,
    Buffer,
)
from facewright.service.formats.head import HeadGroup, HeadMesh, MorphTargets, SparseTarget

_STEP_MM = 0.01
_ROUGHNESS = {"skin": 0.6, "eye": 0.12, "teeth": 0.3, "tongue": 0.45, "lashes": 0.8}
_QUANTIZED = "KHR_mesh_quantization"


class _Packed(NamedTuple):
    """The morph targets of one group as they lie in a file."""

    accessors: list[dict[str, Any]]
    """Without the number of their buffer view: `offset` counts within `data`."""
    data: bytes


def write_head_glb(head: HeadMesh, extras: Mapping[str, Any], *, quantized: bool = True) -> bytes:
    """A self-contained GLB file.

    extras: what to keep in `asset.extras`, as JSON allows it; `units` and `axes` are added.
    quantized: see the module.
    Raises ValueError for a head that reaches further than 32 cm from the origin when quantized,
    ValueError or TypeError for extras that are not JSON.
    """
    buffer = Buffer()
    texture = {} if head.texture is None else buffer.texture(head.texture.rgb_u8, "head")
    materials = list(dict.fromkeys(group.material for group in head.groups))
    places = _positions(head, quantized)
    meshes: list[dict[str, Any]] = []
    nodes: list[dict[str, Any]] = []
    for group in head.groups:
        mesh = _mesh(buffer, head, group, places, materials, quantized)
        nodes.append({"name": group.name, "mesh": len(meshes), "skin": 0})
        meshes.append(mesh)
    roots = list(range(len(nodes)))
    skeleton, joints = _skeleton(head, len(nodes))
    roots.append(len(nodes))
    inverse = _inverse_binds(head, _STEP_MM * METERS_PER_MM if quantized else 1.0)
    matrices = buffer.accessor(inverse, "MAT4", FLOAT, target=None)
    extensions = ([UNLIT] if texture else []) + ([_QUANTIZED] if quantized else [])
    document: dict[str, Any] = {
        "asset": {
            "version": "2.0",
            "generator": "facewright",
            "extras": {**extras, "units": "meters", "axes": "+Y up, +Z out of the face"},
        },
        "scene": 0,
        "scenes": [{"nodes": roots}],
        "nodes": [*nodes, *skeleton],
        "skins": [{"name": "head", "joints": joints, "inverseBindMatrices": matrices}],
        "meshes": meshes,
        "materials": [_material(name, bool(texture)) for name in materials],
    }
    if extensions:
        document["extensionsUsed"] = extensions
    if quantized:
        document["extensionsRequired"] = [_QUANTIZED]
    return buffer.pack({**document, **texture})


def _positions(head: HeadMesh, quantized: bool) -> Array:
    """(V, 4) int16 steps with a column of padding, or (V, 3) float32 m."""
    if not quantized:
        return np.ascontiguousarray(head.vertices * np.float32(METERS_PER_MM), "<f4")
    steps = np.rint(head.vertices / np.float32(_STEP_MM))
    if np.abs(steps).max() > np.iinfo(np.int16).max:
        raise ValueError("the head reaches too far from the origin")
    result = np.zeros((len(steps), 4), "<i2")
    result[:, :3] = steps
    return result


def _mesh(
    buffer: Buffer,
    head: HeadMesh,
    group: HeadGroup,
    places: Array,
    materials: list[str],
    quantized: bool,
) -> dict[str, Any]:
    rows = group.vertices
    own = places[rows]
    bounds = {"min": own[:, :3].min(0).tolist(), "max": own[:, :3].max(0).tolist()}
    normals: Array = head.normals[rows]
    if quantized:
        eight = np.zeros((len(rows), 4), np.int8)
        eight[:, :3] = np.rint(normals * 127)
        normals = eight
    attributes = {
        "POSITION": buffer.accessor(own, "VEC3", SHORT if quantized else FLOAT, **bounds),
        "NORMAL": buffer.accessor(normals, "VEC3", BYTE, normalized=True)
        if quantized
        else buffer.accessor(normals.astype("<f4"), "VEC3", FLOAT),
        "JOINTS_0": buffer.accessor(head.joint_indices[rows], "VEC4", UNSIGNED_BYTE),
        "WEIGHTS_0": buffer.accessor(
            head.joint_weights[rows], "VEC4", UNSIGNED_BYTE, normalized=True
        ),
    }
    if head.texture is not None:
        uv = head.texture.uv[rows].astype("<f4")
        uv[:, 1] = 1.0 - uv[:, 1]
        attributes["TEXCOORD_0"] = (
            buffer.accessor(
                np.rint(uv * 65535).astype("<u2"), "VEC2", UNSIGNED_SHORT, normalized=True
            )
            if quantized
            else buffer.accessor(uv, "VEC2", FLOAT)
        )
    else:
        colors = np.full((len(rows), 4), 0xFFFF, "<u2")
        colors[:, :3] = cv2.LUT(head.colors_u8[rows], LINEAR_FROM_SRGB_U16)
        attributes["COLOR_0"] = buffer.accessor(colors, "VEC4", UNSIGNED_SHORT, normalized=True)
    indices = group.triangles.ravel().astype("<u2" if len(rows) <= RESTART_SHORT else "<u4")
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "indices": buffer.indices(indices),
        "material": materials.index(group.material),
    }
    mesh: dict[str, Any] = {"name": group.name, "primitives": [primitive]}
    targets = {} if head.targets is None else head.targets.groups[group.name]
    if head.targets is not None and targets:
        packed = (
            _sparse(head.targets, group.name, len(rows))
            if quantized
            else _dense(list(targets.values()), len(rows))
        )
        kind = (None, 0) if quantized else (ARRAY_BUFFER, 12)
        view = buffer.view(packed.data, *kind) if packed.data else -1
        primitive["targets"] = []
        for accessor in packed.accessors:
            buffer.accessors.append(_placed(accessor, view))
            primitive["targets"].append({"POSITION": len(buffer.accessors) - 1})
        mesh["weights"] = [round(float(head.weights.get(name, 0.0)), 4) for name in targets]
        mesh["extras"] = {"targetNames": list(targets)}
    return mesh


def _placed(accessor: dict[str, Any], view: int) -> dict[str, Any]:
    """An accessor with the number of its buffer view."""
    if "sparse" in accessor:
        sparse = accessor["sparse"]
        return accessor | {
            "sparse": sparse
            | {
                "indices": sparse["indices"] | {"bufferView": view},
                "values": sparse["values"] | {"bufferView": view},
            }
        }
    return accessor | {"bufferView": view} if "byteOffset" in accessor else accessor


@lru_cache(maxsize=64)
def _sparse(targets: MorphTargets, group: str, count: int) -> _Packed:
    """The same for everybody, so the quantized form is made once; the plain one is too large."""
    short = count <= RESTART_SHORT
    accessors: list[dict[str, Any]] = []
    chunks: list[bytes] = []
    length = 0
    for target in targets.groups[group].values():
        steps = np.rint(target.offsets / np.float32(_STEP_MM)).astype("<i2")
        # What is not listed stays where it is.
        bounds = steps if len(steps) == count else np.vstack([steps, np.zeros(3, np.int16)])
        low, high = bounds.min(0).tolist(), bounds.max(0).tolist()
        accessor: dict[str, Any] = {
            "componentType": SHORT,
            "count": count,
            "type": "VEC3",
            "min": low,
            "max": high,
        }
        if len(steps):
            indices = target.indices.astype("<u2" if short else "<u4").tobytes()
            indices += bytes(-len(indices) % 4)
            values = steps.tobytes()
            values += bytes(-len(values) % 4)
            accessor["sparse"] = {
                "count": len(steps),
                "indices": {
                    "byteOffset": length,
                    "componentType": UNSIGNED_SHORT if short else UNSIGNED_INT,
                },
                "values": {"byteOffset": length + len(indices)},
            }
            chunks += [indices, values]
            length += len(indices) + len(values)
        accessors.append(accessor)
    return _Packed(accessors, b"".join(chunks))


def _dense(targets: list[SparseTarget], count: int) -> _Packed:
    data = np.zeros((len(targets), count, 3), "<f4")
    accessors: list[dict[str, Any]] = []
    for index, (target, values) in enumerate(zip(targets, data, strict=True)):
        values[target.indices] = target.offsets * np.float32(METERS_PER_MM)
        accessors.append(
            {
                "byteOffset": index * values.nbytes,
                "componentType": FLOAT,
                "count": count,
                "type": "VEC3",
                "min": values.min(0).tolist(),
                "max": values.max(0).tolist(),
            }
        )
    return _Packed(accessors, data.tobytes())


def _skeleton(head: HeadMesh, first: int) -> tuple[list[dict[str, Any]], list[int]]:
    """The joints' nodes, which begin at number `first`, and the numbers of the joints."""
    places = head.joints.astype(np.float64) * METERS_PER_MM
    nodes: list[dict[str, Any]] = []
    if head.pose is not None:
        matrix = np.eye(4)
        matrix[:3, :3] = head.pose.rotation
        matrix[:3, 3] = head.pose.translation.astype(np.float64) * METERS_PER_MM
        nodes.append({"name": "Pose", "matrix": matrix.T.ravel().tolist(), "children": [first + 1]})
    root = first + len(nodes)
    names = head.joint_names
    parents = [-1, 0, *[1] * (len(names) - 2)]
    for joint, (name, place) in enumerate(zip(names, places, strict=True)):
        at = place - places[parents[joint]] if parents[joint] >= 0 else place
        node: dict[str, Any] = {"name": name, "translation": at.tolist()}
        children = [root + child for child, parent in enumerate(parents) if parent == joint]
        if children:
            node["children"] = children
        nodes.append(node)
    return nodes, [root + joint for joint in range(len(names))]


def _inverse_binds(head: HeadMesh, step: float) -> FloatArray:
    """(J, 16) column-major matrices from the vertices' numbers to each joint's frame."""
    matrices = np.tile(np.eye(4) * [step, step, step, 1], (len(head.joints), 1, 1))
    matrices[:, :3, 3] = -head.joints * METERS_PER_MM
    return np.ascontiguousarray(matrices.transpose(0, 2, 1).reshape(-1, 16), "<f4")


def _material(name: str, textured: bool) -> dict[str, Any]:
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": _ROUGHNESS[name]}
    material: dict[str, Any] = {"name": name, "pbrMetallicRoughness": surface}
    if name in ("skin", "lashes"):
        material["doubleSided"] = True  # the neck is open below, lashes are flat
    if textured:
        surface["baseColorTexture"] = {"index": 0}
        # The photo's light is part of the texture.
        material["extensions"] = {UNLIT: {}}
    return material
