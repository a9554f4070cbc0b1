"""Portraits: a person, a camera, light and a photo, with the labels that training learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.arrays import Array, FloatArray, float32
from facewright.models.normals import vertex_normals
from facewright.models.segmentation import HAIR, OCCLUDER, OTHER, SKIN
from facewright.training.appearance.skin import Appearance
from facewright.training.appearance.surface import TEETH
from facewright.training.data.shards import IMAGE_SIZE, MARGIN
from facewright.training.synthetic.accessories import (
    Glasses,
    GlassesCase,
    draw_blur_in_front,
    lens_cover,
    tint_lens,
)
from facewright.training.synthetic.background import BACKDROP_SIZE, cut_backdrop, draw_background
from facewright.training.synthetic.class_map import ClassMap
from facewright.training.synthetic.clothing import Garments, Wardrobe
from facewright.training.synthetic.creases import FoldRelief
from facewright.training.synthetic.hair import HairGrower, HairStyle, draw_style
from facewright.training.synthetic.head import Head
from facewright.training.synthetic.labels import fit_light, visible_landmarks
from facewright.training.synthetic.lighting import Lights, ShadowCaster, draw_lights, illuminate
from facewright.training.synthetic.looks import LookSampler
from facewright.training.synthetic.mouth import keep_behind_lips, rows_of_teeth, shade_of_the_mouth
from facewright.training.synthetic.objects import SELDOM, Held, draw_objects
from facewright.training.synthetic.people import Person, draw_expression, draw_person
from facewright.training.synthetic.photo import degrade, draw_border, draw_development
from facewright.training.synthetic.raster import FrameBuffer
from facewright.training.synthetic.scene import Geometry
from facewright.training.synthetic.shading import EyeShading, grain_volume, shade_pixels
from facewright.training.synthetic.strands import Strands, draw, light_nodes
from facewright.training.synthetic.view import View, draw_view, nominal_pose, pose_coefficients

SUPERSAMPLING = 1.5
_BLOCK = 20
_BACKDROPS = 6
_SAME_STYLE = 0.8
# Opacity from which on a lens hides the eye.
_DARK_LENS = 0.5
# Random streams of a seed: what is asked of one never changes what another gives.
_SHAPE, _LOOK, _PICTURE, _BACKDROP = range(4)


@dataclass(frozen=True, eq=False)
class Portrait:
    """One picture and what is known about it.

    Attributes:
        image: (240, 240, 3) uint8 RGB.
        attention: (240, 240) uint8: share of the pixel, 255 for all, in which skin of the face
            model's region is seen: no eyeballs, no inside of lids or mouth, and nothing that
            hair, beard, glasses, cloth or things in front cover (a lens counts by its opacity).
            Blur and compression of the photo do not change it.
        classes: (240, 240) uint8 of `models.segmentation`, what most of each pixel shows; None
            unless the generator was asked for them.
        labels: the rows of `training.data.shards.Labels`.
    """

    image: NDArray[np.uint8]
    attention: NDArray[np.uint8]
    classes: NDArray[np.uint8] | None
    labels: dict[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class _Look:
    """What stays the same in all photos of a person, beside the shape."""

    appearance: Appearance
    style: HairStyle
    glasses: GlassesCase
    folds: int


@dataclass(frozen=True, eq=False)
class _Scene:
    """What is in front of the camera, in camera axes where it has a place."""

    appearance: Appearance
    geometry: Geometry
    landmarks: FloatArray
    facial_hair: list[Strands]
    scalp_hair: list[Strands]
    garments: Garments
    view: View
    lights: Lights
    relief: FloatArray


@dataclass(frozen=True, eq=False)
class _Exposure:
    """A rendered scene: linear (S, S, 3) picture, vertex light and highlight (V, 3)."""

    picture: FloatArray
    light: FloatArray
    highlight: FloatArray


class PortraitGenerator:
    """Draws portraits of one head model; buffers are reused, so one generator per thread.

    Args:
        head: whose portraits.
        classes: whether portraits come with `Portrait.classes`; nothing else depends on it.
        held: `objects.SELDOM` or `OFTEN`.
    """

    def __init__(self, head: Head, *, classes: bool = False, held: Held = SELDOM) -> None:
        self.head = head
        surface = head.surface
        self._looks = LookSampler(surface)
        self._hair = HairGrower(surface)
        regions = self._hair.regions
        self._folds = FoldRelief(surface, head.units)
        self._wardrobe = Wardrobe(surface, regions, self._hair.height, self._hair.degrees)
        size = int(IMAGE_SIZE * SUPERSAMPLING)
        self._frame = FrameBuffer(size)
        self._bare = np.zeros((size, size), np.float32)
        self._classes = ClassMap(size) if classes else None
        self.held = held
        self._shadows = ShadowCaster()
        self._grain = grain_volume()
        self._eye_centers = surface.to_relative(surface.eye_centers)
        face = np.zeros(len(head.mean), bool)
        face[head.face_vertices] = True
        self._face_skin = np.flatnonzero(face & (surface.parts == 0))
        self._face_triangles = face[surface.triangles].all(1) & (head.triangle_parts == 0)
        self._teeth = rows_of_teeth(surface.points, surface.triangles[head.triangle_parts == TEETH])
        self._teeth_edge = float(surface.relative_landmarks[[62, 66], 1].mean()) - 2.5
        ears = regions.ears > 0.4
        self._ear_tops = [
            np.flatnonzero(ears & (np.sign(surface.points[:, 0]) == side)) for side in (-1, 1)
        ]

    def portraits(self, seed: int, numbers: range, per_person: int = 1) -> Iterator[Portrait]:
        """Draw the portraits of `seed` with the given numbers.

        A portrait depends on the seed, its number and `per_person` only. Numbers
        `k * per_person` up to `(k + 1) * per_person - 1` show person `k`: the same shape,
        skin, eyes, brows, beard and hair color and mostly the same hairstyle in other poses,
        light, clothes and expressions.

        Args:
            seed: not negative.
            numbers: consecutive, not negative.
            per_person: portraits of every person, at least 1.
        """
        if len(numbers) == 0:
            return
        known: tuple[int, _Look] | None = None
        for block in range(numbers[0] // _BLOCK, numbers[-1] // _BLOCK + 1):
            # The whole block, wanted or not: how matrices are multiplied depends on their size.
            members = range(block * _BLOCK, (block + 1) * _BLOCK)
            rngs = [np.random.default_rng([seed, _PICTURE, n]) for n in members]
            people = self._people(seed, [n // per_person for n in members])
            expressions = np.stack(
                [
                    draw_expression(rng, self.head, person.identity)
                    for rng, person in zip(rngs, people, strict=True)
                ]
            )
            shapes, landmarks = self.head.shapes(
                np.stack([p.identity for p in people]),
                expressions,
                np.stack([p.residual for p in people]),
            )
            backdrop_rng = np.random.default_rng([seed, _BACKDROP, block])
            backdrops = [draw_background(backdrop_rng, BACKDROP_SIZE) for _ in range(_BACKDROPS)]
            for k, number in enumerate(members):
                if number not in numbers:
                    continue
                who = number // per_person
                if known is None or known[0] != who:
                    known = who, self._look(np.random.default_rng([seed, _LOOK, who]), people[k])
                yield self._portrait(
                    rngs[k], people[k], known[1], shapes[k], landmarks[k], expressions[k],
                    backdrops, {"person": np.int64(who)},
                )  # fmt: skip

    def _people(self, seed: int, numbers: list[int]) -> list[Person]:
        known = {
            n: draw_person(np.random.default_rng([seed, _SHAPE, n]), self.head)
            for n in sorted(set(numbers))
        }
        return [known[n] for n in numbers]

    def _look(self, rng: np.random.Generator, person: Person) -> _Look:
        appearance = self._looks.of(rng, person.traits)
        return _Look(
            appearance=appearance,
            style=draw_style(rng, appearance),
            glasses=GlassesCase.draw(rng, appearance.age),
            folds=int(rng.integers(2**31)),
        )

    def _portrait(
        self,
        rng: np.random.Generator,
        person: Person,
        look: _Look,
        vertices: FloatArray,
        landmarks: FloatArray,
        expression: FloatArray,
        backdrops: list[FloatArray],
        labels: dict[str, NDArray[np.generic]],
    ) -> Portrait:
        scene = self._set_scene(rng, person, look, vertices, landmarks, expression)
        shown = self._render(rng, scene, cut_backdrop(rng, backdrops, self._frame.size))
        self._put_on_glasses(rng, scene, look.glasses, landmarks, shown)
        facing = self._facing_vertices(scene)
        geometry = scene.geometry
        vertex_colors = geometry.reflectance[facing] * shown.light[facing]
        vertex_colors += shown.highlight[facing]
        # The light on the face, whatever the skin returns of it: exposure must not tell the tone.
        level = float(shown.light[facing].mean())
        development = draw_development(rng, level)
        image: Array = cv2.resize(
            shown.picture, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA
        )
        attention: Array = cv2.resize(
            self._bare, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA
        )
        if rng.random() < 0.04:
            cover = draw_blur_in_front(rng, image, level)
            self._hide(cover, OCCLUDER)
            attention *= 1 - cover
        photo = development(image)
        border = draw_border(rng, photo, scene.view.turn)
        if border is not None:
            self._hide(border, OTHER)
            attention *= 1 - border
        photo_u8 = degrade(rng, photo)

        rotation, translation = nominal_pose(scene.view, landmarks)
        angles, shift = pose_coefficients(rotation, translation)
        to_nominal = (rotation @ scene.view.rotation.T).astype(np.float32)
        scale = float32([SUPERSAMPLING, SUPERSAMPLING, 1])
        distance = float(np.linalg.norm(scene.view.offset))
        projected = scene.view.project(scene.landmarks)
        albedo = scene.appearance.albedo_srgb
        labels |= {
            "identity": person.identity,
            "expression": expression,
            "albedo": self.head.albedo_coefficients(albedo),
            "light": fit_light(
                development(vertex_colors), albedo[facing], geometry.normals[facing] @ to_nominal.T
            ),
            "rotation": angles.astype(np.float32),
            "translation": shift.astype(np.float32),
            "landmarks": projected[:, :2],
            "landmark_visible": visible_landmarks(
                (projected + float32([MARGIN, MARGIN, 0])) * scale,
                self._frame.nearness,
                4.5 / distance,
            ),
        }
        classes = None if self._classes is None else self._classes.finish(IMAGE_SIZE)
        return Portrait(photo_u8, np.round(attention * 255).astype(np.uint8), classes, labels)

    def _hide(self, cover: Array, kind: int) -> None:
        """Nothing behind `cover` (240, 240) of this class can be seen, no landmark either."""
        if self._classes is not None:
            self._classes.cover(kind, cover)
        size = self._frame.size
        self._frame.nearness[cv2.resize(cover, (size, size)) > 0.5] = np.inf

    def _set_scene(
        self,
        rng: np.random.Generator,
        person: Person,
        look: _Look,
        vertices: FloatArray,
        landmarks: FloatArray,
        expression: FloatArray,
    ) -> _Scene:
        head, appearance, triangles = self.head, look.appearance, self.head.surface.triangles
        style = look.style if rng.random() < _SAME_STYLE else draw_style(rng, appearance)
        garments = self._wardrobe.draw(rng, person.traits)
        keep_behind_lips(vertices, self._teeth, landmarks)
        view = draw_view(rng, landmarks, head.template)
        normals = vertex_normals(vertices[None], triangles)[0]
        gravity = view.rotation.T @ np.array([0, -1, 0]) + [0, -0.3, 0]
        gravity = (gravity / np.linalg.norm(gravity)).astype(np.float32)
        reflectance = appearance.albedo_linear.copy()
        teeth, dark = shade_of_the_mouth(vertices, self._teeth, landmarks)
        reflectance[teeth] *= dark
        facial = self._hair.facial(rng, appearance, vertices, normals, gravity)
        covered = garments.headwear.covers_hair
        cover = self._hair.scalp_cover(rng, style) * (1 - covered)
        under = appearance.hair * np.float32(0.6)
        reflectance = reflectance + cover[:, None] * (under - reflectance)
        cap = self._hair.cap(style) * (1 - covered)
        hair = self._hair.hair(rng, style, appearance.hair, vertices, normals, gravity, covered)
        worn = self._wardrobe.parts(rng, garments.headwear, vertices, landmarks)
        if hair is not None:
            worn += self._hair.tail(rng, style, appearance.hair, vertices)
        stand_off = garments.stand_off + cap
        moved = view.to_camera(vertices + normals * stand_off[:, None])
        posed = view.to_camera(landmarks)
        geometry = Geometry.of_head(
            head.surface, head.triangle_parts, self._face_triangles, moved,
            reflectance, appearance.gloss, garments.weight, cover,
        )  # fmt: skip
        turned, offset = view.rotation.astype(np.float32), view.offset.astype(np.float32)
        skin = reflectance[self._face_skin].mean(0)
        sleeve = float32(garments.cloth.colors[:3])
        held = draw_objects(rng, posed, skin, sleeve, self.held)
        return _Scene(
            appearance=appearance,
            geometry=geometry.with_props([p.moved(turned, offset) for p in worn] + held),
            landmarks=posed,
            facial_hair=[s.moved(turned, offset) for s in facial],
            scalp_hair=[] if hair is None else [hair.moved(turned, offset)],
            garments=garments,
            view=view,
            lights=draw_lights(rng),
            relief=self._folds.relief(look.folds, expression, appearance.age),
        )

    def _to_pixels(self, view: View, points: FloatArray) -> FloatArray:
        """Camera-space points (..., 3) to supersampled px of the stored image, 1000 / depth."""
        projected = view.project(points.reshape(-1, 3))
        projected[:, :2] = (projected[:, :2] + np.float32(MARGIN)) * np.float32(SUPERSAMPLING)
        return projected.reshape(points.shape)

    def _render(self, rng: np.random.Generator, scene: _Scene, backdrop: FloatArray) -> _Exposure:
        """Draw head, props and strands over the backdrop (S, S, 3)."""
        geometry, lights, view = scene.geometry, scene.lights, scene.view
        shadowing = lights.directions[: lights.shadowed]
        every = [*scene.facial_hair, *scene.scalp_hair]
        reach, strand_reach = self._shadows.reach(
            geometry.vertices, geometry.triangles, every, shadowing
        )
        n_lights = len(lights.directions)
        full = np.ones((n_lights, len(geometry.vertices)), np.float32)
        full[: lights.shadowed] = reach
        light, highlight = illuminate(
            lights, full, geometry.normals, geometry.occlusion, geometry.gloss, geometry.parts
        )
        attributes = np.concatenate(
            [geometry.reflectance, light, highlight, geometry.relative,
             geometry.cloth[:, None], geometry.hair[:, None]], axis=1,
        ).astype(np.float32)  # fmt: skip
        self._frame.draw(self._to_pixels(view, geometry.vertices), geometry.triangles)
        brightness = float(light[self._face_skin].mean())
        image = backdrop * np.float32(brightness * np.exp(rng.normal(0.1, 0.5)))
        shade_pixels(
            self._frame,
            geometry.triangles,
            geometry.triangle_parts,
            attributes,
            self._grain,
            float(rng.uniform(0.01, 0.04)),
            self._eyes(rng, scene),
            scene.garments.cloth,
            self._teeth_edge,
            geometry.face,
            scene.relief,
            lights.slope_light(view.rotation),
            image,
            self._bare,
        )
        if self._classes is not None:
            self._classes.draw_geometry(self._frame, geometry, len(self.head.surface.triangles))
        pixels_per_mm = self._pixels_per_mm(view)
        distance = np.linalg.norm(view.offset)
        for index, (strands, arrives) in enumerate(zip(every, strand_reach, strict=True)):
            n, k = strands.nodes.shape[:2]
            lit = np.ones((n_lights, n * k), np.float32)
            lit[: lights.shadowed] = arrives
            colors = np.empty((n, k, 3), np.float32)
            light_nodes(
                strands.nodes,
                lit,
                lights.directions,
                lights.colors,
                lights.ambient,
                float32([0, 0, 1]),
                np.float32(strands.gloss),
                strands.colors,
                colors,
            )
            nodes, bias = self._to_pixels(view, strands.nodes), np.float32(2.0 / distance)
            if self._classes is not None:
                kind = SKIN if index < len(scene.facial_hair) else HAIR
                self._classes.draw_strands(
                    kind, nodes, strands.widths, strands.opacity, pixels_per_mm, bias,
                    self._frame.nearness,
                )  # fmt: skip
            draw(
                nodes,
                colors,
                strands.widths,
                strands.opacity,
                pixels_per_mm,
                bias,
                image,
                self._frame.nearness,
                self._bare,
            )
        return _Exposure(image, light, highlight)

    def _pixels_per_mm(self, view: View) -> np.float32:
        unit = view.project(float32([[0, 0, -1000], [1, 0, -1000]]))
        return np.float32(np.linalg.norm(unit[1, :2] - unit[0, :2]) * SUPERSAMPLING)

    def _eyes(self, rng: np.random.Generator, scene: _Scene) -> EyeShading:
        view, lights = scene.view, scene.lights
        to_model = view.rotation.T
        at_camera = to_model @ (-view.offset / np.linalg.norm(view.offset))
        gaze = np.array([0.0, 0.0, 1.0])
        if rng.random() < 0.5 and at_camera[2] > 0.75:
            gaze = at_camera
        # Eyes dart: mostly near the aim, now and then far aside.
        reach = 1.0 if rng.random() < 0.8 else 2.8
        gaze = gaze + reach * rng.normal(0, 1, 3) * [0.12, 0.06, 0]
        vergence = rng.uniform(0, 0.06)
        both = np.stack([gaze + [vergence, 0, 0], gaze - [vergence, 0, 0]])
        both /= np.linalg.norm(both, axis=1, keepdims=True)
        to_camera = -view.offset / np.linalg.norm(view.offset)
        half = lights.directions + to_camera
        half = half / np.linalg.norm(half, axis=1, keepdims=True)
        return EyeShading(
            look=scene.appearance.eyes,
            centers=self._eye_centers,
            gaze=both.astype(np.float32),
            highlights=(half @ view.rotation).astype(np.float32),
            light_colors=lights.colors,
        )

    def _put_on_glasses(
        self,
        rng: np.random.Generator,
        scene: _Scene,
        case: GlassesCase,
        landmarks: FloatArray,
        shown: _Exposure,
    ) -> None:
        view = scene.view
        to_model = view.rotation.astype(np.float32)
        offset = view.offset.astype(np.float32)
        ears = []
        for own in self._ear_tops:
            points = (scene.geometry.vertices[own] - offset) @ to_model
            top = points[np.argmax(points[:, 1])]
            ears.append(top + float32([np.sign(top[0]) * 1.0, -8, 0]))
        glasses = case.take(rng, landmarks, np.asarray(ears))
        if glasses is None:
            return
        brightness = float(shown.light[self._face_skin].mean())
        for rim in glasses.rims:
            outline = self._to_pixels(view, view.to_camera(rim))
            if self._classes is not None and glasses.opacity > _DARK_LENS:
                self._classes.cover(OCCLUDER, lens_cover(self._frame.nearness, outline))
            tint_lens(
                rng, shown.picture, self._frame.nearness, self._bare, outline, glasses, brightness
            )
        self._draw_frame(view, glasses, brightness, shown.picture)

    def _draw_frame(
        self, view: View, glasses: Glasses, brightness: float, image: FloatArray
    ) -> None:
        lines = np.concatenate([glasses.rims, glasses.bars])
        nodes = np.stack([self._to_pixels(view, view.to_camera(line)) for line in lines])
        count = len(nodes)
        upper = np.clip(1 + 0.5 * np.diff(nodes[..., 1], axis=1, prepend=nodes[:, :1, 1]), 0.4, 1.6)
        colors = (glasses.color * np.float32(brightness))[None, None] * upper[..., None]
        widths, opacity = (
            np.full(count, glasses.width, np.float32),
            np.full(count, 0.97, np.float32),
        )
        pixels_per_mm = self._pixels_per_mm(view)
        bias = np.float32(0.5 / np.linalg.norm(view.offset))
        # Two passes, since a strand tapers to its tip and a frame does not.
        for line, shade in ((nodes, colors), (nodes[:, ::-1], colors[:, ::-1])):
            form = np.ascontiguousarray(line, np.float32), widths, opacity, pixels_per_mm, bias
            if self._classes is not None:
                self._classes.draw_strands(OCCLUDER, *form, self._frame.nearness)
            draw(
                form[0],
                np.ascontiguousarray(shade, np.float32),
                widths,
                opacity,
                pixels_per_mm,
                bias,
                image,
                self._frame.nearness,
                self._bare,
            )

    def _facing_vertices(self, scene: _Scene) -> NDArray[np.int64]:
        """Skin vertices of the face that look at the camera."""
        own = self._face_skin
        to_camera = -scene.geometry.vertices[own]
        to_camera /= np.linalg.norm(to_camera, axis=1, keepdims=True)
        return own[(scene.geometry.normals[own] * to_camera).sum(1) > 0.15]
