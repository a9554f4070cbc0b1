"""Portraits: a person, a camera, light and a photo, with the labels that training learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.normals import vertex_normals
from training.appearance.skin import Appearance, SkinSampler
from training.data.shards import IMAGE_SIZE, MARGIN
from training.synthetic.accessories import Glasses, draw_glasses, draw_occluder, tint_lens
from training.synthetic.background import draw_background
from training.synthetic.clothing import Garments, Wardrobe
from training.synthetic.creases import ExpressionCreases
from training.synthetic.hair import HairGrower, draw_style
from training.synthetic.head import Head
from training.synthetic.labels import fit_light, visible_landmarks
from training.synthetic.lighting import Lights, ShadowCaster, draw_lights, illuminate
from training.synthetic.people import draw_coefficients
from training.synthetic.photo import degrade, draw_development
from training.synthetic.raster import FrameBuffer
from training.synthetic.shading import EyeShading, grain_volume, shade_pixels
from training.synthetic.strands import Strands, draw, light_nodes
from training.synthetic.view import View, draw_view, nominal_pose, pose_coefficients

FloatArray = NDArray[np.float32]

SUPERSAMPLING = 2
_BATCH = 20
_BACKGROUNDS = 48


@dataclass(frozen=True, eq=False)
class Portrait:
    """One picture (240, 240, 3) uint8 RGB and the rows of `training.data.shards.Labels`."""

    image: NDArray[np.uint8]
    labels: dict[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class _Scene:
    """What is in front of the camera, in camera axes where it has a place."""

    appearance: Appearance
    vertices: FloatArray
    normals: FloatArray
    occlusion: FloatArray
    landmarks: FloatArray
    strands: list[Strands]
    garments: Garments
    reflectance: FloatArray
    view: View
    lights: Lights


class PortraitGenerator:
    """Draws portraits of one head model; buffers are reused, so one generator per thread."""

    def __init__(self, head: Head) -> None:
        self.head = head
        surface = head.surface
        self._skin = SkinSampler(surface)
        self._hair = HairGrower(surface)
        self._creases = ExpressionCreases(self._hair.regions, head.units)
        self._wardrobe = Wardrobe(surface, self._hair.regions, self._hair)
        self._frame = FrameBuffer(IMAGE_SIZE * SUPERSAMPLING)
        self._shadows = ShadowCaster()
        self._grain = grain_volume()
        self._occlusion = surface.occlusion
        self._eye_centres = surface.to_relative(surface.eye_centres)
        face = np.zeros(len(head.mean), bool)
        face[head.face_vertices] = True
        self._face_skin = np.flatnonzero(face & (surface.parts == 0))
        self._teeth_edge = float(surface.relative_landmarks[[62, 66], 1].mean()) - 2.5
        ears = self._hair.regions.ears > 0.4
        self._ear_tops = [
            np.flatnonzero(ears & (np.sign(surface.points[:, 0]) == side)) for side in (-1, 1)
        ]

    def portraits(self, rng: np.random.Generator, count: int) -> Iterator[Portrait]:
        """Draw ``count`` portraits; the same generator state gives the same pictures."""
        backgrounds = [draw_background(rng, IMAGE_SIZE) for _ in range(min(_BACKGROUNDS, count))]
        for start in range(0, count, _BATCH):
            people = draw_coefficients(rng, self.head, min(_BATCH, count - start))
            shapes, landmarks = self.head.shapes(
                people.identity, people.expression, people.residual
            )
            for k in range(len(shapes)):
                if rng.random() < 0.3:
                    backgrounds[rng.integers(len(backgrounds))] = draw_background(rng, IMAGE_SIZE)
                background = backgrounds[rng.integers(len(backgrounds))]
                image, labels = self._portrait(
                    rng, shapes[k], landmarks[k], people.expression[k], background
                )
                labels["identity"] = people.identity[k]
                labels["expression"] = people.expression[k]
                yield Portrait(image, labels)

    def _portrait(
        self,
        rng: np.random.Generator,
        vertices: FloatArray,
        landmarks: FloatArray,
        expression: FloatArray,
        background: FloatArray,
    ) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.generic]]]:
        scene = self._set_scene(rng, vertices, landmarks, expression)
        light, highlight, linear, projected = self._render(rng, scene, background)
        self._accessorise(rng, scene, landmarks, linear, light)
        facing = self._facing_vertices(scene)
        vertex_colours = scene.reflectance[facing] * light[facing] + highlight[facing]
        development = draw_development(rng, float(vertex_colours.mean()))
        image = cv2.resize(linear, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA)
        if rng.random() < 0.15:
            light_level = float(vertex_colours.mean())
            cover = draw_occluder(
                rng, image, scene.reflectance[self._face_skin].mean(0), light_level * 2.5
            )
            hidden = cv2.resize(cover, linear.shape[:2]) > 0.5
            self._frame.nearness[hidden] = np.inf
        photo = degrade(rng, development(image))

        rotation, translation = nominal_pose(scene.view, landmarks)
        angles, shift = pose_coefficients(rotation, translation)
        to_nominal = (rotation @ scene.view.rotation.T).astype(np.float32)
        scale = np.float32([SUPERSAMPLING, SUPERSAMPLING, 1])
        distance = float(np.linalg.norm(scene.view.offset))
        labels: dict[str, NDArray[np.generic]] = {
            "albedo": self.head.albedo_coefficients(scene.appearance.albedo_srgb),
            "light": fit_light(
                development(vertex_colours),
                scene.appearance.albedo_srgb[facing],
                scene.normals[facing] @ to_nominal.T,
            ),
            "rotation": angles.astype(np.float32),
            "translation": shift.astype(np.float32),
            "landmarks": projected[:, :2],
            "landmark_visible": visible_landmarks(
                (projected + np.float32([MARGIN, MARGIN, 0])) * scale,
                self._frame.nearness,
                4.5 / distance,
            ),
        }
        return photo, labels

    def _set_scene(
        self,
        rng: np.random.Generator,
        vertices: FloatArray,
        landmarks: FloatArray,
        expression: FloatArray,
    ) -> _Scene:
        head, triangles = self.head, self.head.surface.triangles
        appearance = self._skin.sample(rng)
        style = draw_style(rng, appearance)
        garments = self._wardrobe.draw(rng)
        view = draw_view(rng, landmarks, head.template)
        normals = vertex_normals(vertices[None], triangles)[0]
        gravity = view.rotation.T @ np.array([0, -1, 0]) + [0, -0.3, 0]
        gravity = (gravity / np.linalg.norm(gravity)).astype(np.float32)
        stand_off = garments.stand_off
        reflectance = appearance.albedo_linear * self._creases.shade(
            rng, expression, appearance.age
        )
        strands = self._hair.facial(rng, appearance, vertices, normals, gravity)
        if not garments.covers_hair:
            cover = self._hair.scalp_cover(rng, style)[:, None]
            under = appearance.hair * np.float32(0.6)
            reflectance = reflectance + cover * (under - reflectance)
            stand_off = stand_off + self._hair.cap(style)
            hair = self._hair.hair(rng, style, appearance.hair, vertices, normals, gravity)
            if hair is not None:
                strands.append(hair)
        moved = view.to_camera(vertices + normals * stand_off[:, None])
        turned = view.rotation.T.astype(np.float32)
        return _Scene(
            appearance=appearance,
            vertices=moved,
            normals=vertex_normals(moved[None], triangles)[0],
            occlusion=self._occlusion,
            landmarks=view.to_camera(landmarks),
            strands=[
                Strands(
                    (s.nodes @ turned + view.offset.astype(np.float32)).astype(np.float32),
                    s.colours,
                    s.widths,
                    s.opacity,
                    s.gloss,
                )
                for s in strands
            ],
            garments=garments,
            reflectance=reflectance,
            view=view,
            lights=draw_lights(rng),
        )

    def _to_pixels(self, view: View, points: FloatArray) -> FloatArray:
        """Camera-space points (..., 3) to supersampled px of the stored image, 1000 / depth."""
        projected = view.project(points.reshape(-1, 3))
        projected[:, :2] = (projected[:, :2] + np.float32(MARGIN)) * np.float32(SUPERSAMPLING)
        return projected.reshape(points.shape)

    def _render(
        self, rng: np.random.Generator, scene: _Scene, background: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Vertex light and highlight (V, 3), the linear picture, landmarks (68, 3) in crop px."""
        surface, lights, view = self.head.surface, scene.lights, scene.view
        shadowing = lights.directions[: lights.shadowed]
        reach, strand_reach = self._shadows.reach(
            scene.vertices, surface.triangles, scene.strands, shadowing
        )
        n_lights = len(lights.directions)
        full = np.ones((n_lights, len(scene.vertices)), np.float32)
        full[: lights.shadowed] = reach
        light, highlight = illuminate(
            lights, full, scene.normals, scene.occlusion, scene.appearance.gloss, surface.parts
        )
        attributes = np.concatenate(
            [scene.reflectance, light, highlight, surface.relative, scene.garments.weight[:, None]],
            axis=1,
        ).astype(np.float32)
        size = self._frame.size
        self._frame.draw(self._to_pixels(view, scene.vertices), surface.triangles)
        picture = background[:, ::-1] if rng.random() < 0.5 else background
        image = cv2.resize(np.ascontiguousarray(picture), (size, size))
        brightness = float(light[self._face_skin].mean())
        image *= np.float32(brightness * np.exp(rng.normal(-0.3, 0.5)))
        shade_pixels(
            self._frame,
            surface.triangles,
            self.head.triangle_parts,
            attributes,
            self._grain,
            float(rng.uniform(0.015, 0.055)),
            self._eyes(rng, scene),
            scene.garments.cloth,
            self._teeth_edge,
            image,
        )
        pixels_per_mm = self._pixels_per_mm(view)
        distance = np.linalg.norm(view.offset)
        for strands, arrives in zip(scene.strands, strand_reach, strict=True):
            n, k = strands.nodes.shape[:2]
            lit = np.ones((n_lights, n * k), np.float32)
            lit[: lights.shadowed] = arrives
            colours = np.empty((n, k, 3), np.float32)
            light_nodes(
                strands.nodes,
                lit,
                lights.directions,
                lights.colours,
                lights.ambient,
                np.float32([0, 0, 1]),
                np.float32(strands.gloss),
                strands.colours,
                colours,
            )
            draw(
                self._to_pixels(view, strands.nodes),
                colours,
                strands.widths,
                strands.opacity,
                pixels_per_mm,
                np.float32(2.0 / distance),
                image,
                self._frame.nearness,
            )
        return light, highlight, image, view.project(scene.landmarks)

    def _pixels_per_mm(self, view: View) -> np.float32:
        unit = view.project(np.float32([[0, 0, -1000], [1, 0, -1000]]))
        return np.float32((unit[1, 0] - unit[0, 0]) * SUPERSAMPLING)

    def _eyes(self, rng: np.random.Generator, scene: _Scene) -> EyeShading:
        view, lights = scene.view, scene.lights
        to_model = view.rotation.T
        at_camera = to_model @ (-view.offset / np.linalg.norm(view.offset))
        gaze = np.array([0.0, 0.0, 1.0])
        if rng.random() < 0.5 and at_camera[2] > 0.75:
            gaze = at_camera
        gaze = gaze + rng.normal(0, 1, 3) * [0.12, 0.06, 0]
        vergence = rng.uniform(0, 0.06)
        both = np.stack([gaze + [vergence, 0, 0], gaze - [vergence, 0, 0]])
        both /= np.linalg.norm(both, axis=1, keepdims=True)
        to_camera = -view.offset / np.linalg.norm(view.offset)
        half = lights.directions + to_camera
        half = half / np.linalg.norm(half, axis=1, keepdims=True)
        return EyeShading(
            look=scene.appearance.eyes,
            centres=self._eye_centres,
            gaze=both.astype(np.float32),
            highlights=(half @ view.rotation).astype(np.float32),
            light_colours=lights.colours,
        )

    def _accessorise(
        self,
        rng: np.random.Generator,
        scene: _Scene,
        landmarks: FloatArray,
        image: FloatArray,
        light: FloatArray,
    ) -> None:
        if rng.random() >= 0.17:
            return
        view = scene.view
        to_model = view.rotation.astype(np.float32)
        offset = view.offset.astype(np.float32)
        ears = []
        for own in self._ear_tops:
            points = (scene.vertices[own] - offset) @ to_model
            top = points[np.argmax(points[:, 1])]
            ears.append(top + np.float32([np.sign(top[0]) * 1.0, -8, 0]))
        glasses = draw_glasses(rng, landmarks, np.asarray(ears))
        brightness = float(light[self._face_skin].mean())
        outlines = [self._to_pixels(view, view.to_camera(rim)) for rim in glasses.rims]
        for outline in outlines:
            tint_lens(rng, image, self._frame.nearness, outline, glasses, brightness)
        self._draw_frame(view, glasses, brightness, image)

    def _draw_frame(
        self, view: View, glasses: Glasses, brightness: float, image: FloatArray
    ) -> None:
        lines = np.concatenate([glasses.rims, glasses.bars])
        nodes = np.stack([self._to_pixels(view, view.to_camera(line)) for line in lines])
        count = len(nodes)
        upper = np.clip(1 + 0.5 * np.diff(nodes[..., 1], axis=1, prepend=nodes[:, :1, 1]), 0.4, 1.6)
        colours = (glasses.colour * np.float32(brightness))[None, None] * upper[..., None]
        # Two passes, since a strand tapers to its tip and a frame does not.
        for line, shade in ((nodes, colours), (nodes[:, ::-1], colours[:, ::-1])):
            draw(
                np.ascontiguousarray(line, np.float32),
                np.ascontiguousarray(shade, np.float32),
                np.full(count, glasses.width, np.float32),
                np.full(count, 0.97, np.float32),
                self._pixels_per_mm(view),
                np.float32(0.5 / np.linalg.norm(view.offset)),
                image,
                self._frame.nearness,
            )

    def _facing_vertices(self, scene: _Scene) -> NDArray[np.int64]:
        """Skin vertices of the face that look at the camera."""
        own = self._face_skin
        to_camera = -scene.vertices[own]
        to_camera /= np.linalg.norm(to_camera, axis=1, keepdims=True)
        return own[(scene.normals[own] * to_camera).sum(1) > 0.15]
