"""A photo of a face in, a 3D mesh out."""

__version__ = "0.1.0"
