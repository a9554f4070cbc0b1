"""From the bytes of an upload to the photo as a viewer shows it.

Accepted are JPEG, PNG, WebP, HEIC and AVIF.  Size is read from the header and held against the
limits before anything is decoded.  Decoding is Pillow's (with libheif for HEIC): unlike OpenCV it
refuses truncated files (OpenCV fills the rest with gray), knows EXIF, palettes, 16 bits and CMYK,
and is fuzzed as a library that takes hostile files.

What a viewer shows:

- EXIF orientation is applied, and a HEIC or AVIF file's own; the result has no orientation any
  more.  Texts, XMP and thumbnails play no part, whatever they say.
- Colors are sRGB: an ICC profile is applied, a broken one is ignored.
- Transparent pixels are laid on white, as on a page.
- Of an animation or a burst the first picture is taken.
- 16-bit samples keep their upper 8 bits; gray becomes RGB; CMYK is converted.
- Bytes after the end of the image are ignored.  A JPEG may lack its end marker, if it has all its
  pixels.

Nothing is written to disk, and nothing of the content reaches a log or a message.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from facewright.service.errors import BadPhoto, PhotoTooLarge, UndecodablePhoto
from facewright.service.pipeline.photo_color import to_rgb
from facewright.service.pipeline.photo_types import (
    JPEG_ENDS,
    FileType,
    Header,
    bare_png,
    recognize,
)

# Pillow logs EXIF values, places included, at debug level.
logging.getLogger("PIL").setLevel(logging.INFO)

# A JPEG costs a pass over all its pixels for every scan, and a scan can be a few bytes.
# Encoders make up to about 12; this many are allowed at the largest size, more at smaller.
_JPEG_SCANS_AT_LIMIT = 20

_MOST_PIXELS_PER_BYTE = 1000
_MOST_PNG_PIXELS_PER_BYTE = 250
_SMALL_PIXELS = 1_000_000
"""A larger file with more pixels in each of its bytes shows nothing, and costs as much as any."""

_EXIF_ORIENTATION = 0x0112
_SIDEWAYS = 5  # from this orientation on, rows of the file are columns of the picture
_MIRRORED_ACROSS = (2, 3, 6, 7)
_MIRRORED_DOWN = (3, 4, 7, 8)

_AT_ONCE_PIXELS, _STRIP_PIXELS = 4_000_000, 250_000
"""Pixels up to which a picture is copied out of Pillow's memory in one piece, and those of each
strip of a larger one: memory that is used again at once."""


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
        UnsupportedPhotoType: no JPEG, PNG, WebP, HEIC or AVIF.
        UndecodablePhoto: empty, truncated or corrupt.
        BadPhoto: sound, but smaller than `limits.min_side`, or all but empty.
    """
    if not data:
        raise UndecodablePhoto("The photo is empty.")
    if len(data) > limits.max_bytes:
        raise PhotoTooLarge(
            f"The photo has {len(data)} bytes; at most {limits.max_bytes} are accepted."
        )
    kind = recognize(data)
    try:
        header = kind.read_header(data)
    except Exception:  # see below
        header = None
    if header is None or header.width < 1 or header.height < 1:
        raise UndecodablePhoto(f"The {kind.name} header is incomplete or corrupt.")
    _check_size(header, limits)
    _check_density(data, kind, header)
    try:
        return _decode_all(data, kind, header, least_side)
    except Exception:
        # Pillow's readers raise whatever their parsing stumbles over (OSError, SyntaxError,
        # ValueError, struct.error, ...).  Their messages may quote the file and are dropped.
        raise UndecodablePhoto(f"The {kind.name} data is truncated or corrupt.") from None


def _check_size(header: Header, limits: ImageLimits) -> None:
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


def _check_density(data: bytes, kind: FileType, header: Header) -> None:
    png = kind.pillow_name == "PNG"
    most = _MOST_PNG_PIXELS_PER_BYTE if png else _MOST_PIXELS_PER_BYTE
    pixels = header.width * header.height
    if pixels > _SMALL_PIXELS and pixels > most * len(data):
        raise BadPhoto(
            f"The photo has {len(data)} bytes for {header.width} x {header.height} pixels, "
            "too few to show a face."
        )


def _decode_all(data: bytes, kind: FileType, header: Header, least_side: int) -> Photo:
    if kind.pillow_name == "PNG":
        data = bare_png(data)
    if header.ended:
        return _decode(data, kind, header, least_side)
    # The decoder does not tell whether only the end marker is missing.  If pixels are, they are
    # made of whatever comes next.
    if not header.fine:
        raise ValueError("scans are missing")
    begun = data.rstrip(b"\xff")
    photo, other = (_decode(begun + end, kind, header, least_side) for end in JPEG_ENDS)
    if not np.array_equal(photo.rgb_u8, other.rgb_u8):
        raise ValueError("pixels are missing")
    return photo


def _decode(data: bytes, kind: FileType, header: Header, least_side: int) -> Photo:
    with Image.open(io.BytesIO(data), formats=[kind.pillow_name]) as image:
        if image.size != (header.width, header.height):
            raise ValueError("two sizes in one file")
        reduction = 1
        if kind.pillow_name == "JPEG":
            while least_side and reduction < 8 and max(image.size) >= 2 * reduction * least_side:
                reduction *= 2
            if reduction > 1:
                image.draft(None, (header.width // reduction, header.height // reduction))
        image.load()
        orientation = _exif_orientation(image)
        rgb_u8 = _orient(_pixels(to_rgb(image)), orientation)
        width, height = header.width, header.height
        if orientation >= _SIDEWAYS:
            width, height = height, width
        over = np.array([width, height]) - reduction * np.array(rgb_u8.shape[1::-1])
        mirrored = orientation in _MIRRORED_ACROSS, orientation in _MIRRORED_DOWN
        return Photo(rgb_u8, width, height, reduction, np.where(mirrored, over, 0.0))


def _pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The samples (H, W, 3) of an RGB image.

    A large one strip by strip: of a whole image at once Pillow makes two copies on the way.
    """
    if image.width * image.height <= _AT_ONCE_PIXELS:
        return np.asarray(image)
    rgb_u8 = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        rgb_u8[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return rgb_u8


def _exif_orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 when it is missing or the EXIF block is corrupt."""
    for name in ("xmp", "XML:com.adobe.xmp"):  # Pillow would look there as well
        image.info.pop(name, None)
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
