"""Pictures say that they are sRGB, and decode to what they were made of."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage import data as pictures

from facewright.service.formats.media_types import JPEG, PNG
from facewright.service.formats.pictures import encode_picture
from facewright.service.pipeline.photo import ImageLimits, decode_photo


@pytest.mark.parametrize("media_type", [JPEG, PNG])
def test_pictures_name_their_color_space(media_type: str) -> None:
    data = encode_picture(pictures.astronaut(), media_type)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        if media_type == PNG:
            assert image.info["srgb"] == 0
        else:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
            assert "sRGB" in ImageCms.getProfileDescription(profile)
    plain = encode_picture(pictures.astronaut(), media_type, tagged=False)
    assert len(plain) < len(data)
    for one in (data, plain):
        rgb_u8 = decode_photo(one, ImageLimits()).astype(float)
        assert np.abs(rgb_u8 - pictures.astronaut()).mean() < (3 if media_type == JPEG else 1e-9)
