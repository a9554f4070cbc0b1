"""The colors of a decoded photo as sRGB."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

_SRGB = ImageCms.createProfile("sRGB")

_SPACES = {"RGB": ("RGB",), "GRAY": ("L",), "CMYK": ("CMYK",)}
"""Color spaces of ICC profiles, and the modes of images that they describe."""


def to_rgb(image: Image.Image) -> Image.Image:
    """The image as opaque 8-bit sRGB.

    Its ICC profile is applied if it is sound and describes the image's colors.  16-bit samples
    keep their upper 8 bits.  Transparent pixels are laid on white.
    """
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I"):  # 16-bit gray; Pillow clips it where it should scale
        samples = np.asarray(image).astype(np.uint16) >> 8
        image = Image.fromarray(samples.astype(np.uint8))
    if image.has_transparency_data:
        layer = _to_srgb(image.convert("RGBA"), profile)
        page = Image.new("RGB", layer.size, "white")
        page.paste(layer, mask=layer.getchannel("A"))
        return page
    if image.mode == "1":
        image = image.convert("L")
    if image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    image = _to_srgb(image, profile)
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The image in sRGB, its alpha kept; the image itself without a usable profile."""
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() == "RGB" and image.mode == "L":
            image = image.convert("RGB")
        mode = image.mode
        if mode.removesuffix("A") not in _SPACES.get(source.profile.xcolor_space.strip(), ()):
            return image
        result_mode = mode if mode in ("RGB", "RGBA") else "RGB"
        transform = ImageCms.buildTransform(source, _SRGB, mode, result_mode)
        if mode == result_mode and _changes_nothing(transform, mode):
            return image
        converted = ImageCms.applyTransform(image, transform, inPlace=mode == result_mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return image if converted is None else converted


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether colors stay as they are, as most profiles are sRGB's by one name or another."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(len(levels), -1, 3)
    sample = Image.fromarray(np.ascontiguousarray(cube)).convert(mode)
    shown = ImageCms.applyTransform(sample, transform)
    assert shown is not None
    return int(np.abs(np.asarray(shown).astype(int) - np.asarray(sample)).max()) <= 1
