"""The library: what `import facewright` gives to programs that want no server.

An engine loads the models once; everything else comes out of it.  The classes here put no logic
of their own before the service's pipeline, they only spare the caller its jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar

import numpy as np
from pydantic import ValidationError

from facewright.models.arrays import ByteArray, DoubleArray, FloatArray
from facewright.models.blendshape_names import ARKIT_BLENDSHAPES
from facewright.models.blendshapes import Blendshapes
from facewright.models.layout import layout_of
from facewright.models.morphable_model import MorphableModel
from facewright.service.errors import NoFaceFound
from facewright.service.formats.media_types import PNG
from facewright.service.formats.mesh import Mesh
from facewright.service.formats.pictures import encode_picture
from facewright.service.options import (
    AlbumFaces,
    AlbumOptions,
    AnswerOptions,
    Compression,
    Detail,
    Expression,
    Faces,
    MeshFormat,
    Outliers,
    Pose,
    ReconstructOptions,
    Strategy,
    Subject,
    Targets,
    Texture,
    TextureSize,
)
from facewright.service.pipeline import album as albums
from facewright.service.pipeline import engine as engines
from facewright.service.pipeline.album_texture import album_texture
from facewright.service.pipeline.chosen_mesh import chosen_face, chosen_identity
from facewright.service.pipeline.job import Job, SharedJob
from facewright.service.pipeline.overlay import draw_overlay
from facewright.service.pipeline.reconstruction import Reconstruction as FaceReconstruction
from facewright.service.results.album_answers import AlbumWriter
from facewright.service.results.answers import AnswerWriter
from facewright.service.runtime.admission import map_bounded
from facewright.service.settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Unpack

Options = TypeVar("Options", bound=AnswerOptions)

Photo: TypeAlias = "bytes | bytearray | memoryview | str | Path | ByteArray"
"""The bytes of a JPEG, PNG, WebP, HEIC or AVIF file, its path, or pixels (H, W, 3) of RGB."""


class SolveOptions(TypedDict, total=False):
    """How an album is solved; these and the other options have names and defaults of the API."""

    strategy: Strategy
    """Photos are weighed by their "confidence", all alike ("mean"), or only the "best" counts."""
    faces: AlbumFaces
    """Of several in a photo the "largest", or the one "consistent" with the rest of the album."""
    outliers: Outliers
    """Photos that seem to show somebody else: only "flag" them, or "drop" them."""
    min_photos: int
    """Fewest photos with a face, 1 to 64."""


class AlbumMeshOptions(TypedDict, total=False):
    """What the mesh of an album is like."""

    texture: Texture
    """An image baked from the "photo", or colors from the model's "albedo"."""
    texture_size: TextureSize
    """Side of that image in pixels: 256, 512, 1024 or 2048."""
    detail: Detail
    """"low", "medium" or "high" (the default): 5,000, 21,000 or 83,000 triangles.

    A head is "medium" by default, and has half as many more.
    """


class MeshOptions(AlbumMeshOptions, total=False):
    """What the mesh of a photo's face is like."""

    expression: Expression
    """"keep" the photo's, or "neutral"."""
    pose: Pose
    """"canonical", upright about the model's origin, or "camera", as in the photo."""


class AlbumHeadOptions(AlbumMeshOptions, total=False):
    """What the head of an album is like."""

    targets: Targets
    """Morph targets: ARKit's 52 ("arkit"), with Oculus' 15 visemes ("all"), or "none"."""
    compression: Compression
    """"none" for software without KHR_mesh_quantization."""


class HeadOptions(MeshOptions, AlbumHeadOptions, total=False):
    """What the head of a photo's face is like."""


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
            NotReady: the engine is closed.
            pydantic.ValidationError: `faces` is another word.
            TypeError: the photo is none of these.
            ValueError: pixels of another shape or type.
            OSError: the file cannot be read.
        """
        ReconstructOptions(faces=faces)
        data = _read(photo)
        try:
            scene = self._engine.reconstruct(data, faces, Job())
        except NoFaceFound:
            return []
        return [Reconstruction(self._engine, scene, face) for face in scene.faces]

    def album(self, photos: Sequence[Photo], **options: Unpack[SolveOptions]) -> Album:
        """Reconstruct the one identity of photos that show the same person.

        Args:
            photos: two or more, each as `reconstruct` takes it.
            **options: see `SolveOptions`.

        Raises:
            TooFewPhotos: fewer photos than `min_photos` show a usable face.
            NotReady: the engine is closed.
            pydantic.ValidationError: there is no such option, or it does not have such a value.
            TypeError: a single photo instead of several, or something that is none.
            ValueError: pixels of another shape or type, or fewer than two photos.
            OSError: a file cannot be read.
        """
        if isinstance(photos, str | bytes | bytearray | memoryview | Path):
            raise TypeError(f"an album is a list of photos, not a single {type(photos).__name__}")
        if len(photos) < 2:
            raise ValueError(f"an album has at least 2 photos, got {len(photos)}")
        asked = _checked(AlbumOptions, SolveOptions, options)
        sources = [_source(photo) for photo in photos]
        at_once = self._settings.concurrency
        with ThreadPoolExecutor(at_once) as pool:
            photo_map = partial(map_bounded, pool, parallel=at_once)
            solved = albums.solve_album(self._engine, sources, asked, photo_map, SharedJob())
        return Album(self._engine, solved, sources)

    def close(self) -> None:
        """Finish what is being worked on and end the engine's threads."""
        self._engine.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
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
    def box(self) -> FloatArray:
        """(4,): x0, y0, x1, y1 of the detector's box in photo pixels."""
        return self._face.face.box

    @property
    def score(self) -> float:
        """The detector's confidence in 0..1."""
        return float(self._face.face.score)

    @property
    def coefficients(self) -> FloatArray:
        """(239,), in the order of `facewright.models.layout.LAYOUT_239`.

        Weights of the released checkpoints' layout give (257,), in that of `LAYOUT_257`.
        """
        return self._face.coefficients

    @property
    def confidences(self) -> FloatArray:
        """(80,) in 0..1: how much the photo tells about each identity coefficient."""
        return self._face.confidences

    @property
    def vertices(self) -> FloatArray:
        """(V, 3) mm in model space, with the photo's expression."""
        return self._face.vertices

    @property
    def landmarks(self) -> FloatArray:
        """(68, 2) photo pixels, in iBUG order."""
        return self._face.landmarks_px

    @property
    def rotation_matrix(self) -> FloatArray:
        """(3, 3): R of p = R v + t, which takes model space to the axes of the camera."""
        return self._face.rotation_matrix

    @property
    def translation(self) -> FloatArray:
        """(3,) mm: t of p = R v + t; the camera stands at (0, 0, 1000) and looks along -z."""
        return self._face.translation_mm

    @property
    def intrinsics(self) -> DoubleArray:
        """(3, 3): K, such that photo pixels ~ K (p_x, -p_y, 1000 - p_z)."""
        return self._face.intrinsics

    def mesh(self, **options: Unpack[MeshOptions]) -> Mesh:
        """The face's mesh.

        Raises:
            InvalidParameter: another `detail` than "high" of a face model that has no head.
            pydantic.ValidationError: there is no such option, or it does not have such a value.
        """
        asked = _checked(ReconstructOptions, MeshOptions, options)
        image = None
        if asked.texture == "photo":
            image = self._engine.texture(self._scene, self._face, asked.texture_size, Job())
        mesh = chosen_face(self._engine, self._face, asked.choice, image)
        assert isinstance(mesh, Mesh)  # a head is not among the options
        return mesh

    def write_glb(self, path: str | Path, **options: Unpack[MeshOptions]) -> None:
        """Write the mesh as binary glTF, in meters; raises as `mesh`."""
        self._write(path, "glb", _checked(ReconstructOptions, MeshOptions, options))

    def write_obj(self, path: str | Path, **options: Unpack[MeshOptions]) -> None:
        """Write the mesh as OBJ with vertex colors, in mm; raises as `mesh`."""
        self._write(path, "obj", _checked(ReconstructOptions, MeshOptions, options))

    def write_head(self, path: str | Path, **options: Unpack[HeadOptions]) -> None:
        """Write the whole head, ready to be animated, as binary glTF, in meters.

        With morph targets the expression is their weights.

        Raises:
            InvalidParameter: the face model has no head.
            pydantic.ValidationError: there is no such option, or it does not have such a value.
        """
        self._write(path, "glb", _checked(ReconstructOptions, HeadOptions, options, mesh="head"))

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

    def overlay(self, *, landmarks: bool = False) -> ByteArray:
        """The photo with this face drawn on it: (H, W, 3).

        Args:
            landmarks: draw the 68 landmarks as well.

        Raises:
            pydantic.ValidationError: `landmarks` is neither true nor false.
        """
        landmarks = ReconstructOptions(landmarks=landmarks).landmarks
        model = self._engine.model
        return draw_overlay(self._scene.photo, model, [self._face], landmarks=landmarks)

    def _write(self, path: str | Path, form: MeshFormat, asked: ReconstructOptions) -> None:
        writer = AnswerWriter(self._engine, self._scene, asked, Job())
        Path(path).write_bytes(writer.mesh(self._face, form))


class Album:
    """The one identity of an album's photos."""

    def __init__(
        self, engine: engines.Engine, album: albums.Album, sources: Sequence[albums.Source]
    ) -> None:
        self._engine = engine
        self._album = album
        self._sources = sources

    @property
    def identity(self) -> FloatArray:
        """(80,) identity coefficients, in standard deviations."""
        return self._album.identity

    @property
    def albedo(self) -> FloatArray:
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

    def mesh(self, **options: Unpack[AlbumMeshOptions]) -> Mesh:
        """The neutral mesh; raises as `Reconstruction.mesh`."""
        asked = _checked(AlbumOptions, AlbumMeshOptions, options)
        image = None
        if asked.texture == "photo":
            size = asked.texture_size
            image = album_texture(self._engine, self._album, self._sources, size, Job())
        mesh = chosen_identity(self._engine, self.identity, self.albedo, asked.choice, image)
        assert isinstance(mesh, Mesh)  # a head is not among the options
        return mesh

    def write_glb(self, path: str | Path, **options: Unpack[AlbumMeshOptions]) -> None:
        """Write the neutral mesh as binary glTF, in meters; raises as `Reconstruction.mesh`."""
        self._write(path, _checked(AlbumOptions, AlbumMeshOptions, options))

    def write_head(self, path: str | Path, **options: Unpack[AlbumHeadOptions]) -> None:
        """Write the whole neutral head; raises as `Reconstruction.write_head`."""
        self._write(path, _checked(AlbumOptions, AlbumHeadOptions, options, mesh="head"))

    def _write(self, path: str | Path, asked: AlbumOptions) -> None:
        writer = AlbumWriter(self._engine, self._album, self._sources, asked, map, SharedJob())
        Path(path).write_bytes(writer.mesh("glb"))


def _checked(
    kind: type[Options], known: Any, options: Mapping[str, Any], *, mesh: Subject = "face"
) -> Options:
    """The options of a method among those of the API.

    Args:
        kind: the options of the API.
        known: the `TypedDict` of those that the method takes.
        options: what the method was given.
        mesh: what the method makes.

    Raises:
        pydantic.ValidationError: an option is not known, or does not have such a value.
    """
    unknown = [name for name in options if name not in known.__optional_keys__]
    if unknown:
        raise ValidationError.from_exception_data(
            known.__name__,
            [{"type": "extra_forbidden", "loc": (n,), "input": options[n]} for n in unknown],
        )
    return kind(mesh=mesh, **options)


def _named(weights: FloatArray) -> dict[str, float]:
    return dict(zip(ARKIT_BLENDSHAPES, weights.tolist(), strict=True))


def _read(photo: Photo) -> bytes:
    if isinstance(photo, bytes | bytearray | memoryview):
        return bytes(photo)
    if isinstance(photo, str | Path):
        return Path(photo).read_bytes()
    if not isinstance(photo, np.ndarray):
        kind = type(photo).__name__
        raise TypeError(f"a photo is a file's path or bytes, or an array of pixels, not a {kind}")
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise ValueError(f"expected (H, W, 3) uint8, got {photo.shape} {photo.dtype}")
    # Losslessly, so that pixels go the way of files, with the same limits.
    return encode_picture(photo, PNG)


def _source(photo: Photo) -> albums.Source:
    if isinstance(photo, str | Path):
        return lambda: _read(photo)  # a long album of files is not held in memory
    data = _read(photo)
    return lambda: data
