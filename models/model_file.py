"""Reading and writing the face model's `.npz` file; `docs/model-file.md` describes it.

The file may come from anywhere, so nothing in it is trusted: no pickles, no array larger than
it may be, no field that the format does not know.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

FORMAT: Final = "facewright-face-model"
FORMAT_VERSION: Final = 1
MAX_FILE_BYTES: Final = 256 * 2**20
MAX_UNPACKED_BYTES: Final = 512 * 2**20

_HEADER_MEMBER = "header.json"
_MAX_HEADER_BYTES = 2**20
_SUBDIVISION = {"subdivision_data", "subdivision_indices", "subdivision_indptr"}
_BASES = ("identity_basis", "expression_basis", "albedo_basis")
_EXACT: Final = "<f4"
"""What bases may be stored in as well, where nothing may be lost."""
_STORED: Final[dict[str, tuple[str, int]]] = {
    "mean_shape": ("<f4", 2),
    "identity_basis": ("<f2", 3),
    "expression_basis": ("<f2", 3),
    "subdivision_data": ("<f4", 1),
    "subdivision_indices": ("<i4", 1),
    "subdivision_indptr": ("<i4", 1),
    "mean_albedo": ("<f4", 2),
    "albedo_basis": ("|i1", 3),
    "albedo_scale": ("<f4", 1),
    "triangles": ("<i4", 2),
    "landmarks": ("<i4", 1),
    "skin_region": ("|b1", 1),
    "mirror": ("<i4", 1),
    "uv": ("<f4", 2),
    "parts": ("|u1", 1),
    "expression_unit_coefficients": ("<f4", 2),
}
# Every zip entry carries it: the format's earliest, because a build has no time of its own.
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)


class FaceModelFileError(ValueError):
    """A file is not a face model, or not one this code can read."""


class Header(NamedTuple):
    """What the file holds besides arrays."""

    expression_units: tuple[str, ...]
    metadata: Mapping[str, str]


def write(
    path: Path, arrays: Mapping[str, NDArray[Any]], header: Header, *, exact: bool = False
) -> None:
    """Write the arrays, in memory precision, and the header; bytes depend on nothing else.

    arrays: a `MorphableModel`'s, and the three of its subdivision when it has one.  Shape
    bases are rounded to float16, the albedo basis (n, V, 3) to int8 times a scale per mode.
    exact: store them in float32 instead, at two to four times the size.
    """
    stored = dict(arrays)
    if exact:
        stored["albedo_scale"] = np.ones(len(arrays["albedo_basis"]), np.float32)
    else:
        stored["albedo_basis"], stored["albedo_scale"] = quantize(arrays["albedo_basis"])
    text = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "expression_units": list(header.expression_units),
        "metadata": dict(header.metadata),
    }
    with zipfile.ZipFile(path, "w") as archive:
        payload = json.dumps(text, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        _add(archive, _HEADER_MEMBER, payload.encode())
        for name, (dtype, _) in _STORED.items():
            if name in stored:
                buffer = io.BytesIO()
                kept = _EXACT if exact and name in _BASES else dtype
                array = np.ascontiguousarray(stored[name], kept)
                np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
                _add(archive, f"{name}.npy", buffer.getvalue())


def read(path: Path) -> tuple[dict[str, NDArray[Any]], Header, str]:
    """Read arrays in memory precision, header, and the file's SHA-256.

    Raises FaceModelFileError when the file is not a face model of this version, is damaged,
    or would unpack to more than `MAX_UNPACKED_BYTES`; OSError when it cannot be read.  Shapes
    and index ranges are not checked here: `MorphableModel` does.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise FaceModelFileError(f"larger than {MAX_FILE_BYTES} bytes")
    data = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # Reading a member stops at its declared size, which is bounded here.
            _check_members(archive)
            header = _parse_header(archive.read(_HEADER_MEMBER))
            stored = {
                name: _parse_array(name, archive.read(f"{name}.npy"))
                for name in _STORED
                if f"{name}.npy" in archive.namelist()
            }
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FaceModelFileError(f"not a sound zip file: {error}") from error
    arrays = {
        name: array.astype(np.float32) if array.dtype == np.float16 else array
        for name, array in stored.items()
    }
    scale = arrays.pop("albedo_scale")
    basis = arrays["albedo_basis"]
    if len(scale) != len(basis):
        raise FaceModelFileError("albedo_basis and albedo_scale do not fit together")
    arrays["albedo_basis"] = basis * scale[:, None, None]
    return arrays, header, hashlib.sha256(data).hexdigest()


def _add(archive: zipfile.ZipFile, name: str, payload: bytes) -> None:
    info = zipfile.ZipInfo(name, _TIMESTAMP)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3  # Unix, on every platform
    info.external_attr = 0o644 << 16
    archive.writestr(info, payload, compresslevel=9)


def _check_members(archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    required = {_HEADER_MEMBER, *(f"{name}.npy" for name in _STORED)}
    subdivision = {f"{name}.npy" for name in _SUBDIVISION}
    if not subdivision & set(names):
        required -= subdivision
    if len(set(names)) != len(names) or set(names) != required:
        different = sorted(required ^ set(names)) or ["an entry twice"]
        raise FaceModelFileError(f"missing or unknown entries: {', '.join(different)}"[:500])
    if sum(info.file_size for info in archive.infolist()) > MAX_UNPACKED_BYTES:
        raise FaceModelFileError(f"unpacks to more than {MAX_UNPACKED_BYTES} bytes")
    if archive.getinfo(_HEADER_MEMBER).file_size > _MAX_HEADER_BYTES:
        raise FaceModelFileError("header too large")


def _parse_header(payload: bytes) -> Header:
    try:
        text = json.loads(payload)
    except ValueError as error:
        raise FaceModelFileError(f"header is not JSON: {error}") from error
    if not isinstance(text, dict) or text.get("format") != FORMAT:
        raise FaceModelFileError("not a facewright face model")
    if text.get("version") != FORMAT_VERSION:
        raise FaceModelFileError(
            f"format version {text.get('version')!r}, but this code reads {FORMAT_VERSION}"
        )
    units, metadata = text.get("expression_units"), text.get("metadata")
    if not isinstance(units, list) or not all(isinstance(unit, str) for unit in units):
        raise FaceModelFileError("expression_units must be a list of names")
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FaceModelFileError("metadata must map names to texts")
    return Header(tuple(units), metadata)


def _parse_array(name: str, payload: bytes) -> NDArray[Any]:
    """Decode a `.npy` payload of version 1.0 whose dtype and rank must be the format's own."""
    dtype, rank = _STORED[name]
    stream = io.BytesIO(payload)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("its .npy version is not 1.0")
        shape, fortran_order, found = np.lib.format.read_array_header_1_0(stream)
    except ValueError as error:
        raise FaceModelFileError(f"{name}: {error}") from error
    allowed = (dtype, _EXACT) if name in _BASES else (dtype,)
    if found not in map(np.dtype, allowed) or len(shape) != rank or fortran_order:
        raise FaceModelFileError(f"{name} must be a C-ordered {dtype} array of rank {rank}")
    body = payload[stream.tell() :]
    if any(extent < 0 for extent in shape) or len(body) != math.prod(shape) * found.itemsize:
        raise FaceModelFileError(f"{name} does not hold the values it declares")
    return np.frombuffer(body, found).reshape(shape)


def quantize(basis: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(n, V, 3) float32 to int8 and (n,) scales, such that int8 * scale is exact in float32.

    Scales are rounded up to 17 significant bits: times a 7-bit integer they stay exact, so
    quantizing the result once more gives the same numbers.
    """
    largest = np.abs(basis).max(axis=(1, 2)).astype(np.float64)
    mantissa, exponent = np.frexp(np.where(largest > 0.0, largest / 127.0, 1.0))
    scale = np.ldexp(np.ceil(mantissa * 2**17), exponent - 17)
    quantized = np.rint(basis / scale[:, None, None]).astype(np.int8)
    return quantized, scale.astype(np.float32)
