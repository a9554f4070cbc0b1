"""From the bytes of an upload to the photo as a viewer shows it.

Accepted are JPEG, PNG and WebP, told apart by their first bytes, never by a name.  Size is
read from the header and held against the limits before anything is decoded.  Decoding is
Pillow's: unlike OpenCV it refuses truncated files (OpenCV fills the rest with grey), knows
EXIF, palettes, 16 bits and CMYK, and is fuzzed as a library that takes hostile files.

What a viewer shows:

- EXIF orientation is applied; the result has no orientation any more.
- Transparent pixels are laid on white, as on a page.
- Of an animation the first frame is taken.
- 16-bit samples keep their upper 8 bits; grey becomes RGB; CMYK is converted without a
  profile.  ICC profiles are ignored: samples are taken as sRGB.
- Bytes after the end of the image are ignored.

Nothing is written to disk, and nothing of the content reaches a log or a message.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from facewright.service.errors import (
    BadPhoto,
    PhotoTooLarge,
    UndecodablePhoto,
    UnsupportedPhotoType,
)

# Pillow logs EXIF values, places included, at debug level.
logging.getLogger("PIL").setLevel(logging.INFO)

# A JPEG costs a pass over all its pixels for every scan, and a scan can be a few bytes.
# Encoders make up to about 12; this many are allowed at the largest size, more at smaller.
_JPEG_SCANS_AT_LIMIT = 20

# Segments hold up to 64 KB, so no real file comes near this; a hostile one is not read on.
_JPEG_SEGMENTS = 5000

_EXIF_ORIENTATION = 0x0112
_SIDEWAYS = 5  # from this orientation on, rows of the file are columns of the picture
_MIRRORED_ACROSS = (2, 3, 6, 7)
_MIRRORED_DOWN = (3, 4, 7, 8)

_STRIP_PIXELS = 250_000
"""Pixels that are copied out of Pillow's memory at a time: memory that is used again at once."""


@dataclass(frozen=True)
class ImageLimits:
    """What a photo may measure.

    Pillow refuses more than 179 million pixels whatever is set here.
    """

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    min_side: int = 32
    """Shorter side in pixels below which no face can be made out."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo, or every second, fourth or eighth of its pixels; sizes are as a viewer shows it."""

    rgb_u8: npt.NDArray[np.uint8]
    """(h, w, 3)."""
    width: int
    """Of the whole photo, px."""
    height: int
    reduction: int
    """1, 2, 4 or 8: pixels of the photo, along each side, in one of `rgb_u8`."""
    shift: npt.NDArray[np.float64]
    """(2,): where the first pixel of `rgb_u8` begins in the photo.

    Not always at (0, 0): a reduction begins at a corner of the file's picture, which may be
    another one of the photo's, and its last pixels may reach beyond the border.
    """


@dataclass(frozen=True)
class _Header:
    """What is known of a photo without decoding it."""

    width: int
    height: int
    passes: int = 1
    """How often a decoder has to go over all pixels."""


def decode_photo(
    data: bytes, limits: ImageLimits, longest_side: int | None = None
) -> npt.NDArray[np.uint8]:
    """Decode an upload into RGB (H, W, 3), C-contiguous.

    With `longest_side` a photo whose longer side has more pixels is reduced to that; of a JPEG
    no more is decoded than that takes.

    Raises as `open_photo` does.
    """
    photo = open_photo(data, limits, longest_side or 0)
    if longest_side is None or longest_side >= max(photo.width, photo.height):
        return photo.rgb_u8
    scale = longest_side / max(photo.width, photo.height)
    size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    small = cv2.resize(photo.rgb_u8, size, interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False)


def open_photo(data: bytes, limits: ImageLimits, least_side: int = 0) -> Photo:
    """Decode an upload, C-contiguous: all of it, or enough.

    Of a JPEG so much is left out, by a power of two, that the longer side keeps `least_side`
    pixels, if it had them; 0 leaves out nothing.

    Raises:
        PhotoTooLarge: more bytes or pixels than `limits`, or a JPEG made of too many scans.
        UnsupportedPhotoType: not a JPEG, PNG or WebP.
        UndecodablePhoto: empty, truncated or corrupt.
        BadPhoto: sound, but smaller than `limits.min_side`.
    """
    if not data:
        raise UndecodablePhoto("The photo is empty.")
    if len(data) > limits.max_bytes:
        raise PhotoTooLarge(
            f"The photo has {len(data)} bytes; at most {limits.max_bytes} are accepted."
        )
    kind, read_header = _recognise(data)
    header = read_header(data)
    if header is None or header.width < 1 or header.height < 1:
        raise UndecodablePhoto(f"The {kind} header is incomplete or corrupt.")
    _check_size(header, limits)
    try:
        return _decode(data, kind, header, least_side)
    except Exception:
        # Pillow's readers raise whatever their parsing stumbles over (OSError, SyntaxError,
        # ValueError, struct.error, ...).  Their messages may quote the file and are dropped.
        raise UndecodablePhoto(f"The {kind} data is truncated or corrupt.") from None


def _check_size(header: _Header, limits: ImageLimits) -> None:
    pixels = header.width * header.height
    if pixels > limits.max_pixels:
        raise PhotoTooLarge(
            f"The photo has {header.width} x {header.height} pixels; "
            f"at most {limits.max_pixels} in all are accepted."
        )
    if pixels * header.passes > limits.max_pixels * _JPEG_SCANS_AT_LIMIT:
        raise PhotoTooLarge(f"The JPEG is made of {header.passes} scans, too many for its size.")
    if min(header.width, header.height) < limits.min_side:
        raise BadPhoto(
            f"The photo has {header.width} x {header.height} pixels; "
            f"its shorter side must have at least {limits.min_side}."
        )


def _decode(data: bytes, kind: str, header: _Header, least_side: int) -> Photo:
    with Image.open(io.BytesIO(data), formats=[kind]) as image:
        if image.size != (header.width, header.height):
            raise ValueError("two sizes in one file")
        reduction = 1
        while least_side and reduction < 8 and max(image.size) >= 2 * reduction * least_side:
            reduction *= 2
        if reduction > 1:
            image.draft(None, (header.width // reduction, header.height // reduction))
            if image.size == (header.width, header.height):  # no JPEG
                reduction = 1
        image.load()
        orientation = _exif_orientation(image)
        rgb_u8 = _orient(_pixels(_to_rgb(image)), orientation)
        width, height = header.width, header.height
        if orientation >= _SIDEWAYS:
            width, height = height, width
        over = np.array([width, height]) - reduction * np.array(rgb_u8.shape[1::-1])
        mirrored = orientation in _MIRRORED_ACROSS, orientation in _MIRRORED_DOWN
        return Photo(rgb_u8, width, height, reduction, np.where(mirrored, over, 0.0))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow clips it where it should scale
        samples = np.asarray(image).astype(np.uint16) >> 8
        return Image.fromarray(samples.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        page = Image.new("RGB", layer.size, "white")
        page.paste(layer, mask=layer.getchannel("A"))
        return page
    return image if image.mode == "RGB" else image.convert("RGB")


def _pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The samples (H, W, 3) of an RGB image.

    Strip by strip: of a whole image at once Pillow makes two copies on the way.
    """
    rgb_u8 = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        rgb_u8[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return rgb_u8


def _exif_orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 when it is missing or the EXIF block is corrupt."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # see `decode_photo`; the picture itself is sound
        return 1
    return orientation if orientation in range(1, 9) else 1


def _orient(rgb_u8: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Bring stored pixels into the position that EXIF orientation 1..8 asks for."""
    if orientation >= _SIDEWAYS:
        rgb_u8 = rgb_u8.transpose(1, 0, 2)
    if orientation in _MIRRORED_ACROSS:
        rgb_u8 = rgb_u8[:, ::-1]
    if orientation in _MIRRORED_DOWN:
        rgb_u8 = rgb_u8[::-1]
    return np.ascontiguousarray(rgb_u8)


def _recognise(data: bytes) -> tuple[str, Callable[[bytes], _Header | None]]:
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG", _read_jpeg_header
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG", _read_png_header
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP", _read_webp_header
    raise UnsupportedPhotoType("The photo is not a JPEG, PNG or WebP file.")


def _read_png_header(data: bytes) -> _Header | None:
    """PNG (ISO/IEC 15948, 11.2.2): the first chunk is IHDR, width and height lead it."""
    if len(data) < 24 or data[12:16] != b"IHDR":
        return None
    return _Header(_big(data[16:20]), _big(data[20:24]))


def _read_webp_header(data: bytes) -> _Header | None:
    """WebP (RFC 9649): canvas of an extended file, or size of the one bitstream."""
    form, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if form == b"VP8X":
        return _Header(_little(body[4:7]) + 1, _little(body[7:10]) + 1)
    if form == b"VP8L" and body[0] == 0x2F:
        bits = _little(body[1:5])
        return _Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if form == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        return _Header(_little(body[6:8]) & 0x3FFF, _little(body[8:10]) & 0x3FFF)
    return None


# Frame headers of all coding processes; C4, C8 and CC are other segments (ITU-T T.81, B.1).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN, _JPEG_END, _JPEG_START = 0xDA, 0xD9, 0xD8
# In compressed data FF is followed by 00 or a restart marker; FF before a marker is padding.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)


def _read_jpeg_header(data: bytes) -> _Header | None:
    """JPEG (ITU-T T.81): size in the frame header; scans are counted up to the end marker."""
    size: tuple[int, int] | None = None
    scans = 0
    position = 2
    for _ in range(_JPEG_SEGMENTS):
        found = _JPEG_MARKER.search(data, position)
        if found is None:
            break
        marker, position = found[1][0], found.end()
        if marker == _JPEG_END:
            break
        if marker == _JPEG_START:
            continue
        if marker in _JPEG_FRAMES and size is None and position + 7 <= len(data):
            size = _big(data[position + 5 : position + 7]), _big(data[position + 3 : position + 5])
        scans += marker == _JPEG_SCAN
        position += _big(data[position : position + 2])
    else:
        return None
    return _Header(*size, passes=scans) if size else None


def _big(octets: bytes) -> int:
    return int.from_bytes(octets, "big")


def _little(octets: bytes) -> int:
    return int.from_bytes(octets, "little")
