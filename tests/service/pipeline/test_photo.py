"""Decoding: what a viewer shows comes out, what is broken or hostile is refused."""

from __future__ import annotations

import io
import logging
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps
from skimage import data as pictures

from facewright.service.errors import (
    BadPhoto,
    FacewrightError,
    PhotoTooLarge,
    UndecodablePhoto,
    UnsupportedPhotoType,
)
from facewright.service.pipeline.photo import ImageLimits, decode_photo, open_photo

LIMITS = ImageLimits()
ASTRONAUT = Image.fromarray(pictures.astronaut())
SMALL = ASTRONAUT.crop((150, 40, 310, 160))  # 160 x 120, with the face


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, color: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG from raw scanlines (ISO/IEC 15948), for what Pillow cannot write."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = (
        chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + body


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


ENCODERS: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg": lambda image: encode(image, "JPEG", quality=95),
    "progressive jpeg": lambda image: encode(image, "JPEG", quality=95, progressive=True),
    "png": lambda image: encode(image, "PNG"),
    "webp": lambda image: encode(image, "WEBP", quality=95),
    "lossless webp": lambda image: encode(image, "WEBP", lossless=True),
    "extended webp": lambda image: encode(image, "WEBP", lossless=True, exif=Image.Exif()),
    "heic": lambda image: encode(image, "HEIF", quality=90),
    "avif": lambda image: encode(image, "AVIF", quality=95),
}
LOSSLESS = {"png", "lossless webp", "extended webp"}
FILES = {name: encoder(SMALL) for name, encoder in ENCODERS.items()}


@pytest.mark.parametrize("name", ENCODERS)
def test_each_type_decodes_to_rgb(name: str) -> None:
    rgb_u8 = decode_photo(FILES[name], LIMITS)
    assert rgb_u8.shape == (120, 160, 3)
    assert rgb_u8.dtype == np.uint8
    assert rgb_u8.flags.c_contiguous
    difference = np.abs(rgb_u8.astype(float) - np.asarray(SMALL))
    assert difference.mean() <= (0 if name in LOSSLESS else 4)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_pillow_applies_it(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(SMALL, form, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(decode_photo(data, LIMITS), expected)


def test_exif_orientation_6_puts_the_first_row_at_the_right() -> None:
    stored = np.zeros((40, 64, 3), np.uint8)
    stored[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    shown = decode_photo(encode(Image.fromarray(stored), "PNG", exif=exif), LIMITS)
    assert shown.shape == (64, 40, 3)
    assert (shown[:, -1] == 255).all()
    assert (shown[:, :-1] == 0).all()


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_senseless_orientation_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(SMALL, "PNG", exif=exif)
    np.testing.assert_array_equal(decode_photo(data, LIMITS), np.asarray(SMALL))


def test_corrupt_exif_does_not_cost_the_photo() -> None:
    data = encode(SMALL, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xff" * 50)
    assert decode_photo(data, LIMITS).shape == (120, 160, 3)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_transparency_is_laid_on_white(form: str) -> None:
    rgba = np.zeros((32, 48, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[:, 16:32, 3] = 128
    rgba[:, 32:, 3] = 255
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    rgb_u8 = decode_photo(encode(Image.fromarray(rgba), form, **options), LIMITS)
    assert (rgb_u8[:, :16] == 255).all()
    np.testing.assert_allclose(rgb_u8[0, 20], [227, 127, 127], atol=1)
    assert (rgb_u8[:, 32:] == [200, 0, 0]).all()


def test_transparent_palette_entry_is_laid_on_white() -> None:
    image = Image.new("P", (32, 32), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (0, 0, 16, 32))
    rgb_u8 = decode_photo(encode(image, "PNG", transparency=0), LIMITS)
    assert (rgb_u8[:, :16] == [200, 100, 50]).all()
    assert (rgb_u8[:, 16:] == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA"])
def test_gray_and_palette_photos_become_rgb(mode: str) -> None:
    image = SMALL.convert(mode)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode_photo(encode(image, "PNG"), LIMITS), expected)


def test_gray_jpeg_becomes_rgb() -> None:
    rgb_u8 = decode_photo(encode(SMALL.convert("L"), "JPEG", quality=95), LIMITS)
    assert (rgb_u8[..., 0] == rgb_u8[..., 2]).all()
    assert np.abs(rgb_u8[..., 0].astype(float) - np.asarray(SMALL.convert("L"))).mean() < 2


def test_cmyk_jpeg_keeps_its_colors() -> None:
    rgb_u8 = decode_photo(encode(SMALL.convert("CMYK"), "JPEG", quality=95), LIMITS)
    assert np.abs(rgb_u8.astype(float) - np.asarray(SMALL)).mean() < 4


@pytest.mark.parametrize(("color", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_samples_keep_their_upper_bits(color: int, channels: int) -> None:
    samples = np.random.default_rng(0).integers(0, 1 << 16, (40, 50, channels)).astype(">u2")
    if color in (4, 6):
        samples[..., -1] = 0xFFFF
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    rgb_u8 = decode_photo(png(50, 40, 16, color, rows), LIMITS)
    upper = (samples >> 8).astype(np.uint8)[..., : 3 if channels >= 3 else 1]
    np.testing.assert_array_equal(rgb_u8, np.broadcast_to(upper, (40, 50, 3)))


@pytest.mark.parametrize("form", ["PNG", "WEBP", "AVIF", "HEIF"])
def test_of_an_animation_the_first_frame_is_taken(form: str) -> None:
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if form == "WEBP" else {}
    data = encode(frames[0], form, save_all=True, append_images=frames[1:], **options)
    shown = decode_photo(data, LIMITS).astype(int)
    assert np.abs(shown - [255, 0, 0]).max() <= (0 if form in ("PNG", "WEBP") else 4)


@pytest.mark.parametrize("name", ENCODERS)
def test_bytes_after_the_end_are_ignored(name: str) -> None:
    # A phone's "motion photo": a film, i.e. any bytes whatever, behind the picture.
    film = np.random.default_rng(1).bytes(3_000_000)
    expected = decode_photo(FILES[name], LIMITS)
    np.testing.assert_array_equal(decode_photo(FILES[name] + film, LIMITS), expected)


@pytest.mark.parametrize("name", ENCODERS)
def test_truncated_photos_are_refused(name: str) -> None:
    data = FILES[name]
    # Cut anywhere into the picture; the last bytes of a PNG hold checksums but no pixels.
    # A JPEG may lack the two of its end marker.
    spare = 24 if name == "png" else 3 if "jpeg" in name else 1
    cuts = np.unique(np.geomspace(spare, len(data) - 12, 80).astype(int))
    for missing in cuts:
        with pytest.raises(UndecodablePhoto):
            decode_photo(data[: len(data) - missing], LIMITS)


@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {"quality": 95},
        {"quality": 20},
        {"progressive": True},
        {"subsampling": 0, "optimize": True},
        {"restart_marker_blocks": 3},
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_may_lack_its_end_marker(missing: int, mode: str, options: dict[str, Any]) -> None:
    data = encode(SMALL.convert(mode), "JPEG", **options)
    expected = decode_photo(data, LIMITS)
    np.testing.assert_array_equal(decode_photo(data[:-missing], LIMITS), expected)
    cut = data[:-missing] + b"\xff" * 3
    np.testing.assert_array_equal(decode_photo(cut, LIMITS), expected)


def test_a_jpeg_without_end_is_reduced_as_others() -> None:
    data = encode(ASTRONAUT, "JPEG")
    expected = open_photo(data, LIMITS, 128)
    assert expected.reduction == 4
    photo = open_photo(data[:-2], LIMITS, 128)
    np.testing.assert_array_equal(photo.rgb_u8, expected.rgb_u8)


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"restart_marker_blocks": 1}, {"restart_marker_rows": 1}]
)
def test_a_jpeg_that_ends_between_its_parts_lacks_pixels(options: dict[str, Any]) -> None:
    """Where a scan or a restart interval ends, a decoder is content."""
    data = encode(SMALL, "JPEG", **options)
    marker = b"\xff\xda" if "progressive" in options else b"\xff"
    ends = [
        at
        for at in range(data.index(b"\xff\xda") + 20, len(data) - 2)
        if data.startswith(marker, at) and data[at + 1] in (0xDA, 0xC4, *range(0xD0, 0xD8))
    ]
    assert len(ends) > 5
    for end in ends:
        for kept in (end, end + 1, end + 2):
            with pytest.raises(UndecodablePhoto):
                decode_photo(data[:kept], LIMITS)


OTHERS = {
    "GIF": b"GIF89a" + b"\0" * 100,
    "BMP": b"BM" + b"\0" * 100,
    "TIFF": encode(SMALL, "TIFF"),
    "SVG": b'<?xml version="1.0"?>\n<svg xmlns="x"/>',
    "JPEG XL": b"\xff\x0a" + b"\0" * 40,
    "JPEG 2000": encode(SMALL, "JPEG2000"),
    "PDF": encode(SMALL, "PDF"),
    "ICO": encode(SMALL, "ICO"),
    "video": b"\0\0\0\x18ftypmp42\0\0\0\0isommp42",
    "CR3 raw": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    "ZIP": b"PK\x03\x04" + b"\0" * 40,
    "HTML": b"<!DOCTYPE html><html></html>",
    "no known type": b"RIFF\0\0\0\0WAVE",
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_types_are_unsupported_and_named(name: str) -> None:
    with pytest.raises(UnsupportedPhotoType, match=name) as raised:
        decode_photo(OTHERS[name], LIMITS)
    assert "HEIC" in raised.value.detail


def wide_gamut() -> bytes:
    """An ICC profile whose red and green are exchanged, so that nobody can miss it."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


PROFILE = wide_gamut()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
@pytest.mark.parametrize("transparent", [False, True])
def test_icc_profiles_become_srgb(form: str, transparent: bool) -> None:
    if transparent and form == "JPEG":
        pytest.skip("a JPEG is opaque")
    image = SMALL.convert("RGBA") if transparent else SMALL
    rgb_u8 = decode_photo(encode(image, form, icc_profile=PROFILE, quality=95), LIMITS)
    expected = np.asarray(SMALL)[..., [1, 0, 2]]
    assert np.abs(rgb_u8.astype(float) - expected).mean() < 5


@pytest.mark.parametrize("least_side", [0, 100])
def test_reduced_photos_are_srgb_as_well(least_side: int) -> None:
    data = encode(ASTRONAUT, "JPEG", icc_profile=PROFILE)
    shown = open_photo(data, LIMITS, least_side).rgb_u8.mean((0, 1))
    np.testing.assert_allclose(shown, np.asarray(ASTRONAUT).mean((0, 1))[[1, 0, 2]], atol=2)


def test_a_profile_of_srgb_leaves_every_sample() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rgb_u8 = decode_photo(encode(SMALL, "PNG", icc_profile=profile), LIMITS)
    np.testing.assert_array_equal(rgb_u8, np.asarray(SMALL))


@pytest.mark.parametrize("mode", ["L", "P", "LA", "1"])
def test_gray_and_palette_photos_with_a_profile_of_colors(mode: str) -> None:
    image = SMALL.convert(mode)
    rgb_u8 = decode_photo(encode(image, "PNG", icc_profile=PROFILE), LIMITS)
    expected = np.asarray(image.convert("RGB"))[..., [1, 0, 2]]
    assert np.abs(rgb_u8.astype(float) - expected).mean() < 2


@pytest.mark.parametrize(
    "profile",
    [b"x", b"\0" * 4000, PROFILE[:200], PROFILE[:-100], PROFILE[:36] + b"nope" + PROFILE[40:]],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_broken_profiles_are_ignored(form: str, profile: bytes) -> None:
    rgb_u8 = decode_photo(encode(SMALL, form, icc_profile=profile, quality=95), LIMITS)
    assert np.abs(rgb_u8.astype(float) - np.asarray(SMALL)).mean() < 4


def test_profiles_of_other_colors_are_ignored() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    rgb_u8 = decode_photo(encode(SMALL, "PNG", icc_profile=lab), LIMITS)
    np.testing.assert_array_equal(rgb_u8, np.asarray(SMALL))


ROWS = b"".join(b"\0" + row.tobytes() for row in np.asarray(SMALL))
LONG = zlib.compress(b" " * 80_000_000)
XMP = b'<x xmlns:tiff="t" tiff:Orientation="6"/>'


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"x\0\0" + LONG),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + LONG),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LONG),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        chunk(b"tEXt", b"x\0" + b"y" * 3_000_000),
        chunk(b"tEXt", b"no separator"),
        chunk(b"iTXt", b"x\0\1\0\0\0no zlib"),
        chunk(b"iCCP", b"x\0\0" + LONG),
        chunk(b"iCCP", b"x\0\0no zlib"),
        chunk(b"iCCP", b"x"),
        chunk(b"tIME", b""),
        chunk(b"pHYs", b"1"),
        chunk(b"tEXt", b"x\0y") * 50_000,
    ],
    ids=range(13),
)
def test_texts_of_a_png_play_no_part(extra: bytes) -> None:
    data = png(160, 120, 8, 2, ROWS, extra)
    start = time.thread_time()
    np.testing.assert_array_equal(decode_photo(data, LIMITS), np.asarray(SMALL))
    assert time.thread_time() - start < 1


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "PNG", "AVIF"])
def test_xmp_does_not_turn_the_photo(form: str) -> None:
    data = encode(SMALL, form, xmp=XMP)
    assert decode_photo(data, LIMITS).shape == (120, 160, 3)


def test_thumbnails_play_no_part() -> None:
    """A HEIC file's thumbnails, and pictures in a JPEG's EXIF, however large."""
    heic = encode(ASTRONAUT, "HEIF", thumbnails=[128, 64])
    assert open_photo(heic, LIMITS, 100).rgb_u8.shape == (512, 512, 3)
    red = encode(Image.new("RGB", (160, 120), "red"), "JPEG")
    segments = b"".join(
        b"\xff\xe1" + struct.pack(">H", len(red) + 8) + b"Exif\0\0" + red for _ in range(40)
    )
    data = FILES["jpeg"][:2] + segments + FILES["jpeg"][2:]
    np.testing.assert_array_equal(decode_photo(data, LIMITS), decode_photo(FILES["jpeg"], LIMITS))


@pytest.mark.parametrize("turn", [3, 6, 8])
def test_a_heic_file_is_turned_once(turn: int) -> None:
    """Its own rotation counts; phones repeat it in the EXIF block."""
    exif = Image.Exif()
    exif[0x0112] = turn
    with Image.open(io.BytesIO(encode(SMALL, "JPEG", exif=exif))) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    rgb_u8 = decode_photo(encode(SMALL, "HEIF", quality=95, exif=exif.tobytes()), LIMITS)
    assert rgb_u8.shape == expected.shape
    assert np.abs(rgb_u8.astype(float) - expected).mean() < 5


def test_nothing_is_undecodable() -> None:
    with pytest.raises(UndecodablePhoto):
        decode_photo(b"", LIMITS)


def test_bytes_over_the_limit_are_refused() -> None:
    data = FILES["png"]
    decode_photo(data, ImageLimits(max_bytes=len(data)))
    with pytest.raises(PhotoTooLarge):
        decode_photo(data, ImageLimits(max_bytes=len(data) - 1))


@pytest.mark.parametrize("name", ENCODERS)
def test_pixels_over_the_limit_are_refused(name: str) -> None:
    decode_photo(FILES[name], ImageLimits(max_pixels=160 * 120))
    with pytest.raises(PhotoTooLarge):
        decode_photo(FILES[name], ImageLimits(max_pixels=160 * 120 - 1))


def test_side_below_the_limit_is_refused() -> None:
    decode_photo(encode(SMALL.resize((32, 40)), "PNG"), LIMITS)
    with pytest.raises(BadPhoto):
        decode_photo(encode(SMALL.resize((31, 40)), "PNG"), LIMITS)


def webp_of(width: int, height: int) -> bytes:
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg_of(width: int, height: int) -> bytes:
    frame = struct.pack(">HBHHB", 17, 8, height, width, 3) + b"\1\x11\0\2\x11\0\3\x11\0"
    return b"\xff\xd8\xff\xc0" + frame + b"\xff\xd9"


@pytest.mark.parametrize(
    "bomb",
    [
        png(60_000, 60_000, 8, 2, b"\0" * 1000),
        png(2**31 - 1, 2**31 - 1, 16, 6, b""),
        webp_of(1 << 24, 1 << 24),
        jpeg_of(65_500, 65_500),
    ],
)
def test_huge_sizes_are_refused_before_memory_is_taken(
    bomb: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_anything(*_: object, **__: object) -> None:
        raise AssertionError("the file was given to the decoder")

    monkeypatch.setattr(Image, "open", open_anything)
    with pytest.raises(PhotoTooLarge):
        decode_photo(bomb, LIMITS)


@pytest.mark.parametrize("kind", ["1", "L", "RGB", "WEBP"])
def test_a_picture_of_nothing_is_refused_before_it_is_decoded(kind: str) -> None:
    empty = Image.new(kind if kind != "WEBP" else "RGB", (7000, 7000))
    options = {"lossless": True} if kind == "WEBP" else {"compress_level": 9}
    data = encode(empty, "WEBP" if kind == "WEBP" else "PNG", **options)
    start = time.thread_time()
    with pytest.raises(BadPhoto, match="too few to show a face"):
        decode_photo(data, LIMITS)
    assert time.thread_time() - start < 0.2


def test_jpeg_of_thousands_of_scans_is_refused_at_once() -> None:
    data = encode(ASTRONAUT.resize((3000, 3000)), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    bomb = data[:-2] + scan[:20] * 1000 + data[-2:]
    start = time.thread_time()
    with pytest.raises(PhotoTooLarge):
        decode_photo(bomb, LIMITS)
    assert time.thread_time() - start < 0.5


def test_sizes_that_disagree_are_refused() -> None:
    # The first frame header claims less than the second, which a decoder may believe.
    data = FILES["jpeg"]
    lie = jpeg_of(64, 64)[2:-2]
    with pytest.raises(UndecodablePhoto):
        decode_photo(data[:2] + lie + data[2:], LIMITS)


def test_exif_content_never_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    with caplog.at_level(logging.DEBUG):
        decode_photo(encode(SMALL, "JPEG", exif=exif), LIMITS)
        with pytest.raises(UndecodablePhoto):
            decode_photo(encode(SMALL, "JPEG", exif=exif)[:-500], LIMITS)
    assert "secret" not in caplog.text


def decode_or_refuse(data: bytes) -> npt.NDArray[np.uint8] | None:
    try:
        return decode_photo(data, ImageLimits(max_pixels=1_000_000))
    except FacewrightError:
        return None


edits = st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(1, 255)), min_size=1, max_size=8)


@settings(max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(FILES)), changes=edits, keep=st.floats(0, 1), head=st.booleans())
def test_corrupt_files_decode_or_are_refused(
    name: str, changes: list[tuple[int, int]], keep: float, head: bool
) -> None:
    data = bytearray(FILES[name])
    reach = min(len(data), 700) if head else len(data)
    for position, bits in changes:
        data[position % reach] ^= bits
    if keep < 0.5:
        del data[int(2 * keep * len(data)) :]
    rgb_u8 = decode_or_refuse(bytes(data))
    assert rgb_u8 is None or (rgb_u8.ndim == 3 and rgb_u8.shape[2] == 3)


@settings(max_examples=100, deadline=2000)
@given(
    magic=st.sampled_from(
        [
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"RIFF\x10\0\0\0WEBPVP8 ",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            b"\0\0\0\x18ftypavif\0\0\0\0mif1avif",
        ]
    ),
    rest=st.binary(max_size=300),
)
def test_bytes_behind_a_right_magic_decode_or_are_refused(magic: bytes, rest: bytes) -> None:
    decode_or_refuse(magic + rest)


@pytest.mark.parametrize("fill", [b"\xff", b"\xff\xd8", b"\xff\xe0\x00\x02", b"\0"])
def test_long_runs_after_a_jpeg_magic_do_not_hang(fill: bytes) -> None:
    data = b"\xff\xd8\xff" + fill * (10_000_000 // len(fill))
    start = time.thread_time()
    assert decode_or_refuse(data) is None
    assert time.thread_time() - start < 1


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("turned", [False, True])
def test_a_reduced_photo_shows_the_same(name: str, turned: bool) -> None:
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6
    form, options = ("WEBP", {"lossless": "less" in name}) if "webp" in name else ("PNG", {})
    if "jpeg" in name:
        form, options = "JPEG", {"quality": 95, "progressive": "progressive" in name}
    photo = ASTRONAUT.crop((0, 0, 512, 384)).resize((1024, 768))
    data = encode(photo, form, exif=exif, **options)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    for longest_side in (100, 300, 700):
        reduced = decode_photo(data, LIMITS, longest_side)
        short = round(longest_side * 0.75)
        size = (longest_side, short) if turned else (short, longest_side)
        assert reduced.shape == (*size, 3)
        assert reduced.flags.c_contiguous
        expected = upright.resize(size[::-1], Image.Resampling.BOX)
        assert np.abs(reduced.astype(float) - np.asarray(expected)).mean() < 4
    whole = decode_photo(data, LIMITS, 5000)
    assert decode_photo(data, LIMITS, 1024).shape == whole.shape
    np.testing.assert_array_equal(whole, decode_photo(data, LIMITS))


def test_a_line_of_a_photo_is_reduced_to_one_pixel_at_least() -> None:
    data = encode(Image.new("RGB", (3200, 32)), "PNG")
    assert decode_photo(data, LIMITS, 40).shape == (1, 40, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_photo_lies_where_it_says(orientation: int) -> None:
    """A ramp has the value of the place that each pixel of the reduction covers."""
    height, width = 701, 1003
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = np.linspace(10, 245, width)
    ramp[..., 1] = np.linspace(10, 245, height)[:, None]
    stored = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(ramp).save(stored, "JPEG", quality=97, subsampling=0, exif=exif)
    whole = open_photo(stored.getvalue(), ImageLimits())
    assert (whole.reduction, whole.shift.tolist()) == (1, [0, 0])
    photo = open_photo(stored.getvalue(), ImageLimits(), 200)
    assert photo.reduction == 4
    assert (photo.height, photo.width) == whole.rgb_u8.shape[:2]
    assert max(photo.rgb_u8.shape) == 251
    rows, columns = (np.arange(4, side - 4) for side in photo.rgb_u8.shape[:2])
    # Continuous coordinates of the centers, in the reduction and then in the photo.
    x = photo.reduction * (columns + 0.5) + photo.shift[0] - 0.5
    y = photo.reduction * (rows + 0.5) + photo.shift[1] - 0.5
    for channel in range(2):
        line = whole.rgb_u8.astype(np.float64)[..., channel]
        across = np.array([np.interp(x, np.arange(photo.width), one) for one in line])
        expected = np.array([np.interp(y, np.arange(photo.height), one) for one in across.T]).T
        seen = photo.rgb_u8[4:-4, 4:-4, channel]
        # Another pixel of the photo would be 0.24 or 0.34 away.
        assert abs((seen - expected).mean()) < 0.1
        assert np.abs(seen - expected).max() < 3


@pytest.mark.parametrize(
    ("side", "least", "reduction"),
    [(800, 0, 1), (800, 401, 1), (800, 400, 2), (800, 201, 2), (800, 10, 8)],
)
def test_a_reduction_keeps_the_side_that_is_asked_for(
    side: int, least: int, reduction: int
) -> None:
    photo = np.full((100, side, 3), 90, np.uint8)
    jpeg, png = (encode(Image.fromarray(photo), kind) for kind in ("JPEG", "PNG"))
    assert open_photo(jpeg, ImageLimits(), least).reduction == reduction
    assert open_photo(jpeg, ImageLimits(), least).rgb_u8.shape[1] == side // reduction
    assert open_photo(png, ImageLimits(), least).reduction == 1, "only a JPEG can be reduced"
