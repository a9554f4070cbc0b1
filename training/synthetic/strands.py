"""Hair as polylines: growing them off a head, lighting them and drawing them with a depth test."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from facewright.models.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class Strands:
    """Polylines with a color each.

    Attributes:
        nodes: (n, k, 3) float32 mm, root first.
        colors: (n, 3) float32 linear reflectance.
        widths: (n,) float32 mm at the root; tips taper.
        gloss: strength of the highlight along the hair.
        opacity: (n,) float32 in [0, 1].
    """

    nodes: FloatArray
    colors: FloatArray
    widths: FloatArray
    opacity: FloatArray
    gloss: float

    def moved(self, rotation: FloatArray, offset: FloatArray) -> Strands:
        """Turned by (3, 3), then shifted by (3,) mm."""
        nodes = (self.nodes @ rotation.T + offset).astype(np.float32)
        return Strands(nodes, self.colors, self.widths, self.opacity, self.gloss)


@numba.njit(cache=True, fastmath=True)
def grow(  # type: ignore[no-untyped-def]
    roots,
    directions,
    lengths,
    lift_offs,
    phases,
    gravity,
    weight,
    curl_radius,
    curl_wave,
    center,
    radii,
    half_face_width,
    face_front,
    cling,
    nodes,
):
    """Grow strands that bend to gravity and stay outside the skull.

    roots, directions, gravity (3,): mm and unit vectors in model space. weight: bend per mm.
    lift_offs: (n,) mm by which a strand stays off the skull's ellipsoid (center, radii).
    curl_radius, curl_wave: mm of a helix added to the path. half_face_width, face_front: below the
    forehead, strands are pushed aside to this |x| and back to this z; a width of 0 leaves them.
    cling: 1 holds strands on the ellipsoid above the nape, lifted on top only; 0 lets them stand
    away, lifted everywhere.
    nodes: (n, k, 3) result.
    """
    count, steps = nodes.shape[0], nodes.shape[1]
    for i in range(count):
        step = lengths[i] / np.float32(steps - 1)
        px, py, pz = roots[i, 0], roots[i, 1], roots[i, 2]
        dx, dy, dz = directions[i, 0], directions[i, 1], directions[i, 2]
        nodes[i, 0, 0] = px
        nodes[i, 0, 1] = py
        nodes[i, 0, 2] = pz
        for k in range(1, steps):
            # Combed hair has its volume on top.
            level = (py - center[1]) / radii[1] + np.float32(0.2)
            below = np.float32(1.0) - min(max(level, np.float32(0.0)), np.float32(1.0))
            lift = lift_offs[i] * (np.float32(1.0) - cling * below)
            rx = radii[0] + lift
            ry = radii[1] + lift
            rz = radii[2] + lift
            bend = weight * step
            dx += gravity[0] * bend
            dy += gravity[1] * bend
            dz += gravity[2] * bend
            norm = np.float32(1.0) / np.sqrt(dx * dx + dy * dy + dz * dz + np.float32(1e-9))
            dx *= norm
            dy *= norm
            dz *= norm
            px += dx * step
            py += dy * step
            pz += dz * step
            ex = (px - center[0]) / rx
            ey = (py - center[1]) / ry
            ez = (pz - center[2]) / rz
            reach = np.sqrt(ex * ex + ey * ey + ez * ez)
            # Lift-off grows along the first third, so that roots stay in the scalp.
            allowed = np.float32(1.0)
            if k * 3 < steps:
                allowed = np.float32(1.0) - lift / rx * (
                    np.float32(1.0) - np.float32(k * 3) / np.float32(steps)
                )
            if reach < allowed and py > center[1] - ry * np.float32(0.75):
                grow_by = allowed / reach
                px = center[0] + ex * grow_by * rx
                py = center[1] + ey * grow_by * ry
                pz = center[2] + ez * grow_by * rz
                nx, ny, nz = ex / rx, ey / ry, ez / rz
                length = np.float32(1.0) / np.sqrt(nx * nx + ny * ny + nz * nz)
                nx *= length
                ny *= length
                nz *= length
                into = dx * nx + dy * ny + dz * nz
                if into < 0:
                    dx -= into * nx
                    dy -= into * ny
                    dz -= into * nz
            elif reach > np.float32(1.0) and py > center[1] - ry * np.float32(0.8):
                pull = np.float32(1.0) + cling * (np.float32(1.0) / reach - np.float32(1.0))
                px = center[0] + ex * pull * rx
                py = center[1] + ey * pull * ry
                pz = center[2] + ez * pull * rz
            if half_face_width > 0 and pz > face_front and py < center[1] + np.float32(0.3) * ry:
                side = np.float32(1.0) if px > 0 else np.float32(-1.0)
                missing = half_face_width - side * px
                if missing > 0:
                    px += side * min(missing, np.float32(0.6) * step)
                pz -= min(pz - face_front, np.float32(0.5) * step)
            angle = phases[i] + np.float32(6.2832) * np.float32(k) * step / curl_wave
            swing = curl_radius * min(np.float32(1.0), np.float32(k) * step / curl_wave)
            nodes[i, k, 0] = px + swing * np.cos(angle)
            nodes[i, k, 1] = py + swing * np.float32(0.5) * np.sin(angle * np.float32(0.7))
            nodes[i, k, 2] = pz + swing * np.sin(angle)


@numba.njit(cache=True, fastmath=True)
def splat_depth(nodes, depth):  # type: ignore[no-untyped-def]
    """Add strand nodes (n, k, 3: x px, y px, z up) to a light's depth map, 2x2 px each."""
    height, width = depth.shape
    for i in range(nodes.shape[0]):
        for k in range(2, nodes.shape[1]):
            column = int(nodes[i, k, 0])
            row = int(nodes[i, k, 1])
            if column < 0 or row < 0 or column >= width - 1 or row >= height - 1:
                continue
            z = nodes[i, k, 2]
            for dy in range(2):
                for dx in range(2):
                    if z > depth[row + dy, column + dx]:
                        depth[row + dy, column + dx] = z


@numba.njit(cache=True, fastmath=True)
def light_nodes(  # type: ignore[no-untyped-def]
    nodes, lit, directions, light_colors, ambient, view, gloss, colors, out
):
    """Shade strand nodes after Kajiya and Kay 1989: light across and highlight along the fibre.

    nodes (n, k, 3) camera axes; lit (L, n * k) light that arrives; directions (L, 3) unit;
    light_colors (L, 3); ambient (3,); view (3,) unit; colors (n, 3); out (n, k, 3) linear.
    """
    count, steps = nodes.shape[0], nodes.shape[1]
    for i in range(count):
        for k in range(steps):
            a = max(k - 1, 0)
            b = min(k + 1, steps - 1)
            tx = nodes[i, b, 0] - nodes[i, a, 0]
            ty = nodes[i, b, 1] - nodes[i, a, 1]
            tz = nodes[i, b, 2] - nodes[i, a, 2]
            norm = np.float32(1.0) / np.sqrt(tx * tx + ty * ty + tz * tz + np.float32(1e-9))
            tx *= norm
            ty *= norm
            tz *= norm
            vt = tx * view[0] + ty * view[1] + tz * view[2]
            vs = np.sqrt(max(np.float32(0.0), np.float32(1.0) - vt * vt))
            # Hair shades its own roots.
            depth = np.float32(0.55) + np.float32(0.45) * np.float32(k) / np.float32(steps - 1)
            red = ambient[0] * depth
            green = ambient[1] * depth
            blue = ambient[2] * depth
            shine_r = np.float32(0.0)
            shine_g = np.float32(0.0)
            shine_b = np.float32(0.0)
            for j in range(directions.shape[0]):
                lt = tx * directions[j, 0] + ty * directions[j, 1] + tz * directions[j, 2]
                ls = np.sqrt(max(np.float32(0.0), np.float32(1.0) - lt * lt))
                arrives = lit[j, i * steps + k]
                across = np.float32(0.65) * ls * arrives * depth
                red += across * light_colors[j, 0]
                green += across * light_colors[j, 1]
                blue += across * light_colors[j, 2]
                along = max(np.float32(0.0), ls * vs - lt * vt)
                along = along * along
                along = along * along
                along = along * along
                along = along * along
                along = gloss * along * along * arrives
                shine_r += along * light_colors[j, 0]
                shine_g += along * light_colors[j, 1]
                shine_b += along * light_colors[j, 2]
            out[i, k, 0] = colors[i, 0] * red + shine_r * (np.float32(0.03) + colors[i, 0])
            out[i, k, 1] = colors[i, 1] * green + shine_g * (np.float32(0.03) + colors[i, 1])
            out[i, k, 2] = colors[i, 2] * blue + shine_b * (np.float32(0.03) + colors[i, 2])


@numba.njit(cache=True, fastmath=True)
def draw(  # type: ignore[no-untyped-def]
    nodes, colors, widths, opacity, pixels_per_mm, bias, image, nearness, bare
):
    """Draw projected strands into a linear image with a depth test.

    nodes (n, k, 3): x px, y px, 1000 / depth; colors (n, k, 3); widths (n,) mm at the root;
    opacity (n,); pixels_per_mm at nearness 1; bias: relative nearness a strand may be behind.
    image (S, S, 3) and nearness (S, S) are updated; bare (S, S) is multiplied by what shines
    through.
    """
    height, width = nearness.shape
    steps = nodes.shape[1]
    for i in range(nodes.shape[0]):
        for k in range(steps - 1):
            x0, y0, z0 = nodes[i, k, 0], nodes[i, k, 1], nodes[i, k, 2]
            x1, y1, z1 = nodes[i, k + 1, 0], nodes[i, k + 1, 1], nodes[i, k + 1, 2]
            if max(x0, x1) < 0 or min(x0, x1) >= width or max(y0, y1) < 0:
                continue
            if min(y0, y1) >= height or z0 <= 0 or z1 <= 0:
                continue
            dx = x1 - x0
            dy = y1 - y0
            along_x = abs(dx) >= abs(dy)
            extent = dx if along_x else dy
            if extent == 0:
                continue
            start = x0 if along_x else y0
            end = start + extent
            # Pixel centers in [start, end): a node shared by two segments is drawn once.
            first_step = int(np.ceil(min(start, end) - np.float32(0.5)))
            last_step = int(np.ceil(max(start, end) - np.float32(0.5)))
            taper = np.float32(1.0) - np.float32(0.6) * np.float32(k) / np.float32(steps - 1)
            # A line that crosses the pixel rows at an angle is wider along them.
            slant = np.sqrt(dx * dx + dy * dy) / abs(extent)
            thick = widths[i] * pixels_per_mm * z0 * taper * slant
            alpha = opacity[i]
            if thick < 1.0:
                alpha *= thick
                thick = np.float32(1.0)
            half = thick * np.float32(0.5)
            for s in range(max(first_step, 0), min(last_step, width if along_x else height)):
                t = (np.float32(s) + np.float32(0.5) - start) / extent
                x = x0 + t * dx
                y = y0 + t * dy
                z = z0 + t * (z1 - z0)
                middle = y if along_x else x
                first = int(np.floor(middle - half + np.float32(0.5)))
                last = int(np.floor(middle + half - np.float32(0.5)))
                if last < first:
                    last = first
                for m in range(first, last + 1):
                    column = s if along_x else m
                    row = m if along_x else s
                    if column < 0 or row < 0 or column >= width or row >= height:
                        continue
                    behind = nearness[row, column]
                    if z < behind * (np.float32(1.0) - bias):
                        continue
                    for c in range(3):
                        color = colors[i, k, c] + t * (colors[i, k + 1, c] - colors[i, k, c])
                        image[row, column, c] += alpha * (color - image[row, column, c])
                    bare[row, column] *= np.float32(1.0) - alpha
                    if alpha > 0.45 and z > behind:
                        nearness[row, column] = z
