"""The library: what `import facewright` gives to programs that want no server.

An engine loads the models once; everything else comes out of it.  The classes here put no logic
of their own before the service's pipeline, they only spare the caller its jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from facewright.models.blendshape_names import ARKIT_BLENDSHAPES
from facewright.models.blendshapes import Blendshapes
from facewright.models.layout import layout_of
from facewright.models.morphable_model import MorphableModel
from facewright.models.texture.baking import DEFAULT_TEXTURE_SIZE
from facewright.service.errors import NoFaceFound
from facewright.service.formats.media_types import PNG
from facewright.service.formats.mesh import Mesh
from facewright.service.formats.pictures import encode_picture
from facewright.service.options import (
    AlbumOptions,
    Compression,
    Detail,
    Expression,
    Faces,
    MeshChoice,
    MeshFormat,
    Pose,
    ReconstructOptions,
    Subject,
    Targets,
    Texture,
)
from facewright.service.pipeline import album as albums
from facewright.service.pipeline import engine as engines
from facewright.service.pipeline.album_texture import album_texture
from facewright.service.pipeline.job import Job, SharedJob
from facewright.service.pipeline.meshing import colored_mesh, face_mesh
from facewright.service.pipeline.overlay import draw_overlay
from facewright.service.pipeline.reconstruction import Reconstruction as FaceReconstruction
from facewright.service.results.mesh_files import face_file, identity_file
from facewright.service.runtime.admission import map_bounded
from facewright.service.settings import Settings

RgbU8: TypeAlias = npt.NDArray[np.uint8]
Float32: TypeAlias = npt.NDArray[np.float32]
Photo: TypeAlias = "bytes | str | Path | RgbU8"
"""The bytes of a JPEG, PNG, WebP, HEIC or AVIF file, its path, or pixels (H, W, 3) of RGB."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine:
    """The models, loaded and warmed up; thread safe.

    Load one and keep it: loading takes seconds, a photo takes a fraction of one.  It can be used
    in a `with` block, which closes it.

    Args:
        **settings: the settings of the service by their names, such as `max_faces=4` or
            `detector="insightface"`.  What is not given comes from the environment.

    Raises:
        ModelError: a model is missing or unusable.
        pydantic.ValidationError: there is no such setting, or it does not have such a value.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = Settings(**settings)
        self._engine = engines.Engine(self._settings)

    @property
    def model(self) -> MorphableModel:
        """The face model that results refer to."""
        return self._engine.model

    def reconstruct(self, photo: Photo, *, faces: Faces = "all") -> list[Reconstruction]:
        """Reconstruct the faces of a photo.

        Args:
            photo: a file's bytes or path, or RGB pixels (H, W, 3) uint8.
            faces: "all" of them, or the "largest" only.

        Returns:
            The faces, the largest first; none where the photo shows no face.

        Raises:
            BadPhoto: the photo cannot be decoded, or is too small or too large.
            pydantic.ValidationError: `faces` is another word.
            ValueError: pixels of another shape or type.
            OSError: the file cannot be read.
        """
        _checked(faces=faces)
        data = _read(photo)
        try:
            scene = self._engine.reconstruct(data, faces, Job())
        except NoFaceFound:
            return []
        return [Reconstruction(self._engine, scene, face) for face in scene.faces]

    def album(self, photos: Sequence[Photo], **options: Any) -> Album:
        """Reconstruct the one identity of photos that show the same person.

        Args:
            photos: two or more, each as `reconstruct` takes it.
            **options: `strategy`, `faces`, `outliers` and `min_photos` of `AlbumOptions`.

        Raises:
            TooFewPhotos: fewer photos than `min_photos` show a usable face.
            pydantic.ValidationError: there is no such option, or it does not have such a value.
            ValueError: pixels of another shape or type, or fewer than two photos.
        """
        if len(photos) < 2:
            raise ValueError(f"an album has at least 2 photos, got {len(photos)}")
        asked = AlbumOptions.model_validate(options)
        sources = [_source(photo) for photo in photos]
        at_once = self._settings.concurrency
        with ThreadPoolExecutor(at_once) as pool:

            def photo_map(
                work: Callable[[Item], Result], items: Iterable[Item]
            ) -> Iterator[Result]:
                return map_bounded(pool, work, items, at_once)

            solved = albums.solve_album(self._engine, sources, asked, photo_map, SharedJob())
        return Album(self._engine, solved, sources)

    def close(self) -> None:
        """Finish what is being worked on and end the engine's threads."""
        self._engine.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Reconstruction:
    """One face of a photo in 3D.

    Model space is right-handed, in mm: +x to the subject's left, +y up, +z out of the face.
    """

    def __init__(
        self, engine: engines.Engine, scene: engines.Scene, face: FaceReconstruction
    ) -> None:
        self._engine = engine
        self._scene = scene
        self._face = face

    @property
    def box(self) -> Float32:
        """(4,): x0, y0, x1, y1 of the detector's box in photo pixels."""
        return self._face.face.box

    @property
    def score(self) -> float:
        """The detector's confidence in 0..1."""
        return float(self._face.face.score)

    @property
    def coefficients(self) -> Float32:
        """(239,), in the order of `facewright.models.layout.LAYOUT_239`.

        Weights of the released checkpoints' layout give (257,), in that of `LAYOUT_257`.
        """
        return self._face.coefficients

    @property
    def confidences(self) -> Float32:
        """(80,) in 0..1: how much the photo tells about each identity coefficient."""
        return self._face.confidences

    @property
    def vertices(self) -> Float32:
        """(V, 3) mm in model space, with the photo's expression."""
        return self._face.vertices

    @property
    def landmarks(self) -> Float32:
        """(68, 2) photo pixels, in iBUG order."""
        return self._face.landmarks_px

    @property
    def rotation_matrix(self) -> Float32:
        """(3, 3): R of p = R v + t, which takes model space to the axes of the camera."""
        return self._face.rotation_matrix

    @property
    def translation(self) -> Float32:
        """(3,) mm: t of p = R v + t; the camera stands at (0, 0, 1000) and looks along -z."""
        return self._face.translation_mm

    @property
    def intrinsics(self) -> npt.NDArray[np.float64]:
        """(3, 3): K, such that photo pixels ~ K (p_x, -p_y, 1000 - p_z)."""
        return self._face.intrinsics

    def mesh(
        self,
        *,
        expression: Expression = "keep",
        pose: Pose = "canonical",
        texture: Texture = "photo",
        texture_size: int = DEFAULT_TEXTURE_SIZE,
    ) -> Mesh:
        """The face's mesh.

        Args:
            expression: "keep" the photo's, or "neutral".
            pose: "canonical", upright about the model's origin, or "camera", as in the photo.
            texture: an image baked from the "photo", or colors from the model's "albedo".
            texture_size: side of that image in pixels: 256, 512, 1024 or 2048.

        Raises:
            pydantic.ValidationError: an argument has another value.
        """
        _checked(expression=expression, pose=pose)
        image = self._texture(texture, texture_size)
        return face_mesh(self._engine.model, self._face, expression, pose, image)

    def write_glb(
        self,
        path: str | Path,
        *,
        expression: Expression = "keep",
        pose: Pose = "canonical",
        texture: Texture = "photo",
        texture_size: int = DEFAULT_TEXTURE_SIZE,
    ) -> None:
        """Write the mesh as binary glTF, in meters; arguments as of `mesh`."""
        _checked(expression=expression, pose=pose)
        self._write(path, "glb", expression, pose, self._texture(texture, texture_size))

    def write_obj(
        self,
        path: str | Path,
        *,
        expression: Expression = "keep",
        pose: Pose = "canonical",
        texture: Texture = "photo",
        texture_size: int = DEFAULT_TEXTURE_SIZE,
    ) -> None:
        """Write the mesh as OBJ with vertex colors, in mm; arguments as of `mesh`."""
        _checked(expression=expression, pose=pose)
        self._write(path, "obj", expression, pose, self._texture(texture, texture_size))

    def write_head(
        self,
        path: str | Path,
        *,
        expression: Expression = "keep",
        pose: Pose = "canonical",
        texture: Texture = "photo",
        texture_size: int = DEFAULT_TEXTURE_SIZE,
        detail: Detail = "medium",
        targets: Targets = "all",
        compression: Compression = "quantized",
    ) -> None:
        """Write the whole head, ready to be animated, as binary glTF, in meters.

        Args:
            path: the file.
            expression: "keep" the photo's, or "neutral"; with targets it is their weights.
            pose: "canonical", or "camera", as in the photo.
            texture: an image baked from the "photo", or colors from the model's "albedo".
            texture_size: side of that image in pixels.
            detail: "low", "medium" or "high": 8,400, 32,000 or 128,000 triangles.
            targets: morph targets: ARKit's 52 ("arkit"), with Oculus' 15 visemes ("all"), "none".
            compression: "none" for software without KHR_mesh_quantization.

        Raises:
            InvalidParameter: the face model has no head.
            pydantic.ValidationError: an argument has another value.
        """
        _checked(expression=expression, pose=pose)
        choice = _head(detail, targets, compression)
        image = self._texture(texture, texture_size, "head")
        self._write(path, "glb", expression, pose, image, choice)

    @property
    def blendshapes(self) -> dict[str, float]:
        """The expression as ARKit's 52 blendshapes, 0..1; empty if the face model names none.

        They are those of the mesh, and the default weights of `write_head`.
        """
        solved = self._solved()
        return {} if solved is None else _named(solved.weights)

    @property
    def calibrated_blendshapes(self) -> dict[str, float]:
        """The 52 blendshapes as far as a face tracker would say, to drive other avatars.

        Empty for weights without a calibration.
        """
        solved = self._solved()
        return {} if solved is None or solved.calibrated is None else _named(solved.calibrated)

    def _solved(self) -> Blendshapes | None:
        if self._engine.blendshapes is None:
            return None
        parts = layout_of(self.coefficients).split(self.coefficients[None])
        return self._engine.blendshapes.solve(parts.expression[0], parts.identity[0])

    def overlay(self, *, landmarks: bool = False) -> RgbU8:
        """The photo with this face drawn on it: (H, W, 3).

        Args:
            landmarks: draw the 68 landmarks as well.
        """
        model = self._engine.model
        return draw_overlay(self._scene.photo, model, [self._face], landmarks=landmarks)

    def _texture(self, texture: Texture, size: int, subject: Subject = "face") -> RgbU8 | None:
        _checked(texture=texture, texture_size=size)
        if texture == "albedo":
            return None
        return self._engine.texture(self._scene, self._face, size, Job(), subject)

    def _write(
        self,
        path: str | Path,
        form: MeshFormat,
        expression: Expression,
        pose: Pose,
        texture: RgbU8 | None,
        choice: MeshChoice = MeshChoice(),
    ) -> None:
        scalp = None
        if choice.subject == "head" and texture is None:
            scalp = self._engine.scalp(self._scene, self._face)
        data = face_file(
            self._engine, self._face, form, expression, pose, Job(), texture,
            choice=choice, scalp=scalp,
        )  # fmt: skip
        Path(path).write_bytes(data)


class Album:
    """The one identity of an album's photos."""

    def __init__(
        self, engine: engines.Engine, album: albums.Album, sources: Sequence[albums.Source]
    ) -> None:
        self._engine = engine
        self._album = album
        self._sources = sources

    @property
    def identity(self) -> Float32:
        """(80,) identity coefficients, in standard deviations."""
        return self._album.identity

    @property
    def albedo(self) -> Float32:
        """(80,) albedo coefficients, the mean of the photos used."""
        return self._album.albedo

    @property
    def photos(self) -> list[albums.AlbumFace | albums.FailedPhoto]:
        """What became of each photo, in their order."""
        return self._album.photos

    @property
    def photos_used(self) -> int:
        """How many photos the identity is made of."""
        return self._album.photos_used

    def mesh(self, *, texture: Texture = "photo", texture_size: int = DEFAULT_TEXTURE_SIZE) -> Mesh:
        """The neutral mesh; arguments as of `Reconstruction.mesh`."""
        model = self._engine.model
        neutral = np.zeros((1, model.n_expression), np.float32)
        vertices = model.shape(self.identity[None], neutral)[0]
        albedo = model.albedo(self.albedo[None])[0]
        return colored_mesh(model, vertices, albedo, self._texture(texture, texture_size))

    def write_glb(
        self,
        path: str | Path,
        *,
        texture: Texture = "photo",
        texture_size: int = DEFAULT_TEXTURE_SIZE,
    ) -> None:
        """Write the neutral mesh as binary glTF, in meters; arguments as of `mesh`."""
        image = self._texture(texture, texture_size)
        data = identity_file(self._engine, self.identity, self.albedo, "glb", Job(), image)
        Path(path).write_bytes(data)

    def write_head(
        self,
        path: str | Path,
        *,
        texture: Texture = "photo",
        texture_size: int = DEFAULT_TEXTURE_SIZE,
        detail: Detail = "medium",
        targets: Targets = "all",
        compression: Compression = "quantized",
    ) -> None:
        """Write the whole neutral head; arguments as of `Reconstruction.write_head`."""
        choice = _head(detail, targets, compression)
        image = self._texture(texture, texture_size, "head")
        data = identity_file(
            self._engine, self.identity, self.albedo, "glb", Job(), image, choice=choice
        )
        Path(path).write_bytes(data)

    def _texture(self, texture: Texture, size: int, subject: Subject = "face") -> RgbU8 | None:
        _checked(texture=texture, texture_size=size)
        if texture == "albedo":
            return None
        return album_texture(self._engine, self._album, self._sources, size, Job(), subject)


def _checked(**options: Any) -> ReconstructOptions:
    """Options by the names of the API; a word that is none would pass for a default."""
    return ReconstructOptions.model_validate(options)


def _named(weights: Float32) -> dict[str, float]:
    return dict(zip(ARKIT_BLENDSHAPES, weights.tolist(), strict=True))


def _head(detail: Detail, targets: Targets, compression: Compression) -> MeshChoice:
    options = _checked(mesh="head", detail=detail, targets=targets, compression=compression)
    return options.choice


def _read(photo: Photo) -> bytes:
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, str | Path):
        return Path(photo).read_bytes()
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise ValueError(f"expected (H, W, 3) uint8, got {photo.shape} {photo.dtype}")
    # Losslessly, so that pixels go the way of files, with the same limits.
    return encode_picture(photo, PNG)


def _source(photo: Photo) -> albums.Source:
    if isinstance(photo, str | Path):
        return lambda: _read(photo)  # a long album of files is not held in memory
    data = _read(photo)
    return lambda: data
