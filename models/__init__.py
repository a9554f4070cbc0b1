"""Definitions shared by serving and training: face model, camera, light, rasterizer, networks."""
