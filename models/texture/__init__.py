"""Textures baked from photographs: one image in the face model's UV coordinates.

`baking.TextureBaker` is the way in; `docs/texture.md` tells the method.
"""
