"""Definitions shared by serving and training: face model, camera, light, rasteriser, networks."""
