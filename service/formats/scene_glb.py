"""Put GLB files of faces or heads into one scene, each under a node of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from facewright.models.arrays import DoubleArray
from facewright.service.formats.gltf import pack_glb

_LISTS = (
    "nodes", "meshes", "skins", "materials", "textures", "images", "samplers", "accessors",
    "bufferViews",
)  # fmt: skip


class Placed(NamedTuple):
    """A file and where it stands in a scene."""

    name: str
    """Of the node that places it; what it holds gets the name as a prefix."""
    data: bytes
    matrix: DoubleArray
    """(4, 4) from the file's meters to the scene's."""


def write_scene_glb(files: Sequence[Placed], extras: Mapping[str, Any]) -> bytes:
    """A self-contained GLB file of one scene.

    Meshes on a skeleton stay at the scene's root, as glTF wants them, and the node that places
    them holds their joints.

    extras: what to keep in `asset.extras`, as JSON allows it.
    Raises ValueError or TypeError for extras that are not JSON.
    """
    scene: dict[str, Any] = {name: [] for name in _LISTS}
    roots: list[int] = []
    extensions: dict[str, set[str]] = {"extensionsUsed": set(), "extensionsRequired": set()}
    chunks: list[bytes | memoryview] = []
    length = 0
    for file in files:
        size = int.from_bytes(file.data[12:16], "little")
        document = json.loads(file.data[20 : 20 + size])
        first = {name: len(scene[name]) for name in _LISTS}
        _renumber(document, first, length)
        for node in document["nodes"]:
            node["name"] = f"{file.name}_{node['name']}"
        for name in _LISTS:
            scene[name] += document.get(name, [])
        for name, found in extensions.items():
            found.update(document.get(name, []))
        own = document["scenes"][0]["nodes"]
        skinned = [node for node in own if "skin" in scene["nodes"][node]]
        scene["nodes"].append(
            {
                "name": file.name,
                "matrix": file.matrix.T.ravel().tolist(),
                "children": [node for node in own if node not in skinned],
            }
        )
        roots += [*skinned, len(scene["nodes"]) - 1]
        buffer = memoryview(file.data)[28 + size :]
        chunks.append(buffer)
        length += len(buffer)
    document = {
        "asset": {"version": "2.0", "generator": "facewright", "extras": dict(extras)},
        "scene": 0,
        "scenes": [{"nodes": roots}],
        **{name: values for name, values in scene.items() if values},
        **{name: sorted(values) for name, values in extensions.items() if values},
    }
    return pack_glb(document, chunks, length)


def _renumber(document: dict[str, Any], first: Mapping[str, int], offset: int) -> None:
    """Count what a file refers to from `first`, and its bytes from `offset`."""

    def move(holder: dict[str, Any], name: str, kind: str) -> None:
        if name in holder:
            value = holder[name]
            at = first[kind]
            holder[name] = [n + at for n in value] if isinstance(value, list) else value + at

    for view in document["bufferViews"]:
        view["byteOffset"] = view.get("byteOffset", 0) + offset
    for accessor in document["accessors"]:
        sparse = accessor.get("sparse", {})
        for holder in (accessor, sparse.get("indices", {}), sparse.get("values", {})):
            move(holder, "bufferView", "bufferViews")
    for image in document.get("images", []):
        move(image, "bufferView", "bufferViews")
    for texture in document.get("textures", []):
        move(texture, "source", "images")
        move(texture, "sampler", "samplers")
    for material in document["materials"]:
        surface = material["pbrMetallicRoughness"]
        move(surface.get("baseColorTexture", {}), "index", "textures")
    for mesh in document["meshes"]:
        for primitive in mesh["primitives"]:
            move(primitive, "indices", "accessors")
            move(primitive, "material", "materials")
            for holder in (primitive["attributes"], *primitive.get("targets", [])):
                for name in holder:
                    move(holder, name, "accessors")
    for skin in document.get("skins", []):
        move(skin, "joints", "nodes")
        move(skin, "inverseBindMatrices", "accessors")
    for node in document["nodes"]:
        move(node, "mesh", "meshes")
        move(node, "skin", "skins")
        move(node, "children", "nodes")
    move(document["scenes"][0], "nodes", "nodes")
