"""Hostile and broken uploads, made on the spot: the generator is kept, not the files."""

from __future__ import annotations

import base64
import io
import json
import random
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

import facewright.service.pipeline.photo_types  # noqa: F401  Pillow writes HEIC files with it

Make = Callable[[random.Random, bytes], bytes]
"""Makes a file; gets the bytes of a sound JPEG to spoil."""


def _encode(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _noise(dice: random.Random, mode: str = "RGB", side: int = 64) -> Image.Image:
    pixels = np.frombuffer(dice.randbytes(side * side * 3), np.uint8).reshape(side, side, 3)
    return Image.fromarray(pixels).convert(mode)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, color: int, data: bytes, extra: bytes = b"") -> bytes:
    """A PNG of these compressed scanlines, whatever the header promises."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def truncated(dice: random.Random, sound: bytes) -> bytes:
    """Cut anywhere."""
    form = dice.choice(("JPEG", "PNG", "WEBP", "HEIF", "AVIF"))
    data = sound if form == "JPEG" else _encode(_noise(dice), form)
    return data[: dice.randrange(len(data))]


def flipped(dice: random.Random, sound: bytes) -> bytes:
    """A few bytes are others."""
    form = dice.choice(("PNG", "HEIF", "AVIF"))
    data = bytearray(dice.choice((sound, _encode(_noise(dice), form))))
    for _ in range(dice.choice((1, 3, 30))):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data)


def spliced(dice: random.Random, sound: bytes) -> bytes:
    """A piece is doubled, or taken out."""
    a, b = sorted(dice.randrange(len(sound)) for _ in range(2))
    return sound[:b] + sound[a:] if dice.random() < 0.5 else sound[:a] + sound[b:]


def wrong_magic(dice: random.Random, sound: bytes) -> bytes:
    """The first bytes of another type, or of none."""
    head = dice.choice((b"GIF89a", b"BM", b"\x89PNG\r\n\x1a\n", b"RIFF____WEBPVP8 ", b"%PDF-1.7"))
    return head + sound[dice.randrange(16) :]


def noise(dice: random.Random, sound: bytes) -> bytes:
    """Bytes of no kind, perhaps behind a magic number."""
    boxes = b"\0\0\0\x18ftyp%b\0\0\0\0mif1%b"
    head = dice.choice(
        (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8X",
         boxes % (b"heic", b"heic"), boxes % (b"avif", b"avif"))
    )  # fmt: skip
    return head + dice.randbytes(dice.choice((0, 1, 100, 5000)))


def tiny(dice: random.Random, sound: bytes) -> bytes:
    """One pixel, or a line of them."""
    size = dice.choice(((1, 1), (1, 500), (500, 1), (31, 31), (32, 32)))
    return _encode(Image.new("RGB", size), dice.choice(("JPEG", "PNG", "WEBP")))


def wide(dice: random.Random, sound: bytes) -> bytes:
    """As wide as a JPEG can be."""
    height = dice.choice((1, 32, 64))
    return _encode(Image.new("L", (65535 if dice.random() < 0.5 else 65500, height)), "PNG")


def sizes_lie(dice: random.Random, sound: bytes) -> bytes:
    """A small JPEG whose frame header promises any size."""
    data = bytearray(sound)
    at = sound.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", dice.randrange(65536), dice.choice((0, 1, 32, 65535)))
    return bytes(data)


def bomb(dice: random.Random, sound: bytes) -> bytes:
    """A PNG whose few bytes unfold to more pixels than allowed, or than its header says."""
    side = dice.choice((100, 8_000, 30_000, 100_000, 2**31 - 1))
    return png(side, side, 8, 2, zlib.compress(bytes(2_000_000), 9))


def text_bomb(dice: random.Random, sound: bytes) -> bytes:
    """A PNG with a compressed text or ICC profile of many megabytes."""
    packed = zlib.compress(bytes(20_000_000), 9)
    extra = dice.choice((chunk(b"iCCP", b"x\0\0" + packed), chunk(b"zTXt", b"x\0\0" + packed)))
    rows = b"".join(b"\0" + bytes(64 * 3) for _ in range(64))
    return png(64, 64, 8, 2, zlib.compress(rows), extra)


def icc_bomb(dice: random.Random, sound: bytes) -> bytes:
    """A JPEG with pieces of an ICC profile that never make a whole."""
    piece = b"ICC_PROFILE\0" + bytes([dice.randrange(256), dice.randrange(256)])
    piece += dice.randbytes(dice.choice((0, 100, 60_000)))
    segment = b"\xff\xe2" + struct.pack(">H", len(piece) + 2) + piece
    return sound[:2] + segment * dice.randrange(1, 20) + sound[2:]


def exif_lies(dice: random.Random, sound: bytes) -> bytes:
    """EXIF with any orientation, with offsets into nowhere, or of noise."""
    exif = Image.Exif()
    exif[0x0112] = dice.randrange(65536)
    block = exif.tobytes()
    if dice.random() < 0.7:
        block = block[:12] + dice.randbytes(dice.choice((4, 40, 4000)))
    return _encode(_noise(dice), dice.choice(("JPEG", "PNG", "WEBP")), exif=block)


def deep(dice: random.Random, sound: bytes) -> bytes:
    """16 bits per sample, in all kinds of color."""
    color, channels = dice.choice(((0, 1), (2, 3), (4, 2), (6, 4)))
    rows = b"".join(b"\0" + dice.randbytes(40 * channels * 2) for _ in range(40))
    return png(40, 40, 16, color, zlib.compress(rows))


def modes(dice: random.Random, sound: bytes) -> bytes:
    """CMYK, gray, palette, transparent."""
    mode, form = dice.choice(
        (
            ("CMYK", "JPEG"),
            ("L", "JPEG"),
            ("P", "PNG"),
            ("LA", "PNG"),
            ("RGBA", "WEBP"),
            ("1", "PNG"),
        )
    )
    return _encode(_noise(dice, mode), form)


def animated(dice: random.Random, sound: bytes) -> bytes:
    """Many frames."""
    frames = [_noise(dice) for _ in range(dice.randrange(2, 6))]
    form = dice.choice(("PNG", "WEBP"))
    data = _encode(frames[0], form, save_all=True, append_images=frames[1:])
    return data[: dice.randrange(len(data) // 2, len(data) + 1)]


def many_scans(dice: random.Random, sound: bytes) -> bytes:
    """A JPEG of more scans than any encoder makes."""
    data = _encode(_noise(dice), "JPEG", progressive=True)
    at = data.index(b"\xff\xda")
    return data[:at] + data[at : at + 14] * dice.choice((100, 3000)) + data[at:]


def smudged(dice: random.Random, sound: bytes) -> bytes:
    """A sound photo, turned, blurred or brightened until a detector may see anything."""
    bgr = cv2.imdecode(np.frombuffer(sound, np.uint8), cv2.IMREAD_COLOR)
    bgr = np.ascontiguousarray(np.rot90(bgr, dice.randrange(4)))
    bgr = cv2.GaussianBlur(bgr, (0, 0), dice.uniform(0.1, 8))
    bgr = cv2.convertScaleAbs(bgr, alpha=dice.uniform(0.1, 4), beta=dice.uniform(-100, 100))
    return cv2.imencode(".jpg", bgr)[1].tobytes()


KINDS: tuple[Make, ...] = (
    truncated, flipped, spliced, wrong_magic, noise, tiny, wide, sizes_lie, bomb, text_bomb,
    icc_bomb, exif_lies, deep, modes, animated, many_scans, smudged,
)  # fmt: skip


def hostile_file(dice: random.Random, sound: bytes) -> tuple[str, bytes]:
    """The name of a kind, and a file of it made from a sound baseline JPEG."""
    make = dice.choice(KINDS)
    return make.__name__, make(dice, sound)


def hostile_json(dice: random.Random, data: bytes) -> bytes:
    """JSON around `data`: mostly sound, with options and without, cut, or of other things."""
    photo = base64.b64encode(data).decode()
    value = dice.choice((photo, photo, f"data:image/png;base64,{photo}", None, [photo, photo], "x"))
    body = {dice.choice(("image", "image", "images", "photo")): value}
    body |= dice.choice(({}, {"faces": "largest"}, {"include": ["mesh"]}, {"faces": 1}, {"x": {}}))
    text = json.dumps(body).encode()
    if dice.random() < 0.2:
        at = dice.randrange(len(text) + 1)
        text = text[:at] + dice.choice((b"", b"[" * 3000, b"\\", b'"', b"\xff", b"\0"))
    return text


def hostile_form(dice: random.Random, data: bytes) -> tuple[bytes, str]:
    """A body around `data` and its content type: mostly a form, rarely a sound one."""
    if dice.random() < 0.2:
        return hostile_json(dice, data), "application/json"
    boundary = dice.choice(("b", "x" * 70, "a b", "--", "é"))
    name = dice.choice(("image", "image", "image", "images", "", 'im"age', "\0", "x" * 9000))
    disposition = f'Content-Disposition: form-data; name="{name}"; filename="a.jpg"'
    part = f"--{boundary}\r\n{disposition}\r\n\r\n".encode() + data + b"\r\n"
    body = part * dice.choice((0, 1, 1, 1, 2)) + f"--{boundary}--\r\n".encode()
    if dice.random() < 0.15:
        body = body[: dice.randrange(len(body) + 1)]
    if dice.random() < 0.15:
        body = body.replace(b"\r\n", b"\n")
    if dice.random() < 0.15:
        body = dice.randbytes(200) + body
    kind = dice.choice(
        (
            f"multipart/form-data; boundary={boundary}",
            f'multipart/form-data; boundary="{boundary}"',
            "multipart/form-data", "multipart/form-data; boundary=other",
            "image/jpeg", "image/webp", "application/octet-stream", "text/plain", "", "/",
        )
    )  # fmt: skip
    return body, kind
