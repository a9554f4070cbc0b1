"""What kind of file a photo is, and its size, before anything is decoded.

Types are told apart by their first bytes, never by a name.
"""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pillow_heif
from PIL import AvifImagePlugin, Image

from facewright.service.errors import UnsupportedPhotoType

# Photos are worked on side by side already: more threads would only switch.  Of a HEIC file the
# picture alone counts: with thumbnails Pillow would decode one in its place.
pillow_heif.register_heif_opener(
    decode_threads=1, thumbnails=False, depth_images=False, aux_images=False
)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif")
"""Of the files taken from a directory or a tar; photos named themselves may be called anything."""

# Segments hold up to 64 KB, so no real file comes near this; a hostile one is not read on.
_JPEG_SEGMENTS = 5000

_LARGEST_PROFILE = 1_000_000
"""Bytes of an ICC profile inside a PNG, unpacked; Pillow refuses a file with a larger one."""


@dataclass(frozen=True)
class Header:
    """What is known of a photo without decoding it."""

    width: int
    height: int
    passes: int = 1
    """How often a decoder has to go over all pixels."""
    ended: bool = True
    """False for a JPEG without its end marker."""
    fine: bool = True
    """False for a JPEG whose scans do not bring all that its frame announces."""


@dataclass(frozen=True)
class FileType:
    """A type of file that is accepted."""

    pillow_name: str
    name: str
    read_header: Callable[[bytes], Header | None]
    """None when the header is incomplete or corrupt; may raise anything on corrupt files."""


def recognize(data: bytes) -> FileType:
    """The type of a file.

    Raises `UnsupportedPhotoType` with the name of the type that was found.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return FileType("JPEG", "JPEG", _read_jpeg_header)
    if data.startswith(_PNG_MAGIC):
        return FileType("PNG", "PNG", _read_png_header)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return FileType("WEBP", "WebP", _read_webp_header)
    if data[4:8] == b"ftyp":
        brands = _brands(data)
        if brands & {b"avif", b"avis"}:
            return FileType("AVIF", "AVIF", lambda data: _ask_pillow(data, "AVIF"))
        if brands & _HEIF_BRANDS:
            return FileType("HEIF", "HEIC", lambda data: _ask_pillow(data, "HEIF"))
    found = next((name for magic, name in _REFUSED if magic.match(data)), None)
    what = f"of the type {found}" if found else "of no known type of image"
    raise UnsupportedPhotoType(f"The photo is {what}; send a JPEG, PNG, WebP, HEIC or AVIF file.")


_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}

_REFUSED = tuple(
    (re.compile(magic, re.DOTALL), name)
    for magic, name in (
        (rb"GIF8[79]a", "GIF"),
        (rb"II\*\0.{4}CR\x02", "CR2 raw"),
        (rb"II[*+]\0|MM\0[*+]", "TIFF"),
        (rb"BM", "BMP"),
        (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000"),
        (rb"%PDF-", "PDF"),
        (rb"8BPS", "Photoshop"),
        (rb"FUJIFILMCCD-RAW", "RAF raw"),
        (rb"\0\0\x01\0", "ICO"),
        (rb".{4}ftyp(qt  |mp4|isom|iso\d|avc1|M4V|3gp)", "video"),
        (rb".{4}ftypcrx ", "CR3 raw"),
        (rb"RIFF.{4}AVI |\x1a\x45\xdf\xa3", "video"),
        (rb"PK\x03\x04", "ZIP"),
        (rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg", "SVG"),
        (rb"\s*<(!DOCTYPE html|html)", "HTML"),
    )
)


def _brands(data: bytes) -> set[bytes]:
    """Major and compatible brands of an ISO base media file (ISO/IEC 14496-12, 4.3)."""
    box = data[8 : min(_big(data[:4]), 256)]
    return {box[:4], *(box[i : i + 4] for i in range(8, len(box), 4))}


def _ask_pillow(data: bytes, pillow_name: str) -> Header:
    """Size as the library reads it from the boxes; nothing is decoded before `load`."""
    with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=[pillow_name]) as image:
        return Header(*image.size)


# --- PNG ----------------------------------------------------------------------------------------

# What decides about pixels; text, XMP, times and an animation's further frames do not.
_PNG_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"iCCP", b"IDAT", b"IEND"})


def _read_png_header(data: bytes) -> Header | None:
    """PNG (ISO/IEC 15948, 11.2.2): the first chunk is IHDR, width and height lead it."""
    if len(data) < 24 or data[12:16] != b"IHDR":
        return None
    return Header(_big(data[16:20]), _big(data[20:24]))


def bare_png(data: bytes) -> bytes:
    """The PNG without what plays no part in its pixels, however large that is.

    Pillow unpacks every text it meets, and refuses a file for the size of one.
    """
    return _PNG_MAGIC + b"".join(_needed_chunks(data))


def _needed_chunks(data: bytes) -> Iterator[bytes]:
    position = len(_PNG_MAGIC)
    while position + 8 <= len(data):
        kind = data[position + 4 : position + 8]
        end = position + 12 + _big(data[position : position + 4])
        chunk = data[position:end]
        if kind in _PNG_CHUNKS and (kind != b"iCCP" or _has_profile(chunk[8:-4])):
            yield chunk
        if kind == b"IEND":
            break
        position = end


def _has_profile(body: bytes) -> bool:
    """Whether an iCCP chunk (name, 0, method, zlib stream) unpacks to a profile of usual size."""
    _, _, packed = body.partition(b"\0")
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed[1:], _LARGEST_PROFILE)
    except zlib.error:
        return False
    return unpacker.eof


# --- WebP ---------------------------------------------------------------------------------------


def _read_webp_header(data: bytes) -> Header | None:
    """WebP (RFC 9649): canvas of an extended file, or size of the one bitstream."""
    form, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if form == b"VP8X":
        return Header(_little(body[4:7]) + 1, _little(body[7:10]) + 1)
    if form == b"VP8L" and body[0] == 0x2F:
        bits = _little(body[1:5])
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if form == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        return Header(_little(body[6:8]) & 0x3FFF, _little(body[8:10]) & 0x3FFF)
    return None


# --- JPEG ---------------------------------------------------------------------------------------

# Frame headers of all coding processes; C4, C8 and CC are other segments (ITU-T T.81, B.1).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN, _JPEG_END, _JPEG_START = 0xDA, 0xD9, 0xD8
# In compressed data FF is followed by 00 or a restart marker; FF before a marker is padding.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)


def _read_jpeg_header(data: bytes) -> Header | None:
    """JPEG (ITU-T T.81): size in the frame header; scans are counted up to the end marker."""
    size: tuple[int, int] | None = None
    unknown: dict[int, set[int]] = {}
    """Of each component the coefficients that no scan has brought to their last bit."""
    scans, ended = 0, False
    position = 2
    for _ in range(_JPEG_SEGMENTS):
        found = _JPEG_MARKER.search(data, position)
        if found is None:
            break
        marker, position = found[1][0], found.end()
        if marker == _JPEG_END:
            ended = True
            break
        if marker == _JPEG_START:
            continue
        length = _big(data[position : position + 2])
        segment = data[position : position + length]
        if marker in _JPEG_FRAMES and size is None and len(segment) >= 7:
            size = _big(segment[5:7]), _big(segment[3:5])
            unknown = {component: set(range(64)) for component in segment[8::3]}
        if marker == _JPEG_SCAN:
            scans += 1
            if len(segment) > 5 and segment[-1] & 0x0F == 0:  # B.2.3: its coefficients' last bits
                for component in segment[3:-3:2]:
                    unknown.get(component, set()).difference_update(
                        range(segment[-3], segment[-2] + 1)
                    )
        position += length
    else:
        return None
    if size is None:
        return None
    return Header(*size, passes=scans, ended=ended, fine=not any(unknown.values()))


def _no_picture(seed: int) -> bytes:
    """Bytes of no picture, with all restart markers, and an end."""
    parts = (
        bytes((seed * (37 * k + 11) + k * k) % 255 for k in range(96))
        + bytes([0xFF, 0xD0 + (n + 4 * seed) % 8])
        for n in range(8)
    )
    return b"".join(parts) + b"\xff\xd9"


JPEG_ENDS = _no_picture(0), _no_picture(1)
"""Two ways to go on where a JPEG breaks off: by them the pixels differ that it lacks.

They begin with different restart markers, because a decoder leaves an interval empty when the
marker of one of the next two comes first.
"""


def _big(octets: bytes) -> int:
    return int.from_bytes(octets, "big")


def _little(octets: bytes) -> int:
    return int.from_bytes(octets, "little")
