"""Time the mesh writers on a mesh of a face's size: `python benchmarks/bench_writers.py`."""

from __future__ import annotations

import numpy as np
from bench_rasterizer import bumpy_half_sphere, milliseconds

from facewright.models.normals import vertex_normals
from facewright.service.formats.glb import write_glb
from facewright.service.formats.mesh import Mesh
from facewright.service.formats.obj import write_obj

TARGET_MS = {"GLB": 5.0, "OBJ": 60.0}


def main() -> None:
    """Print one line per format."""
    vertices, triangles = bumpy_half_sphere(190)
    vertices, triangles = vertices.astype(np.float32), triangles.astype(np.int32)
    colors = np.random.default_rng(0).integers(0, 256, vertices.shape).astype(np.uint8)
    mesh = Mesh(vertices, triangles, vertex_normals(vertices[None], triangles)[0], colors)
    extras = {"license": "CC0-1.0", "coefficients": [0.1] * 239}
    print(f"{len(vertices)} vertices, {len(triangles)} triangles")
    for name, writer in (("GLB", write_glb), ("OBJ", write_obj)):
        size = len(writer(mesh, extras))
        time = milliseconds(lambda w=writer: w(mesh, extras))
        target = TARGET_MS[name]
        print(
            f"{name}: {time:6.2f} ms ({time / target:.2f} of the {target:g} ms target),"
            f" {size / 1e6:.1f} MB"
        )


if __name__ == "__main__":
    main()
