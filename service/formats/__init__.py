"""Meshes of reconstructed faces and the files that carry them."""
