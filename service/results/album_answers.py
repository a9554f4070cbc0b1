"""The forms of an album's answer: JSON, the identity's mesh, a sheet of overlays, or a ZIP file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from facewright.models.arrays import ByteArray
from facewright.service.errors import BadPhoto
from facewright.service.formats.media_types import JPEG
from facewright.service.formats.pictures import encode_picture
from facewright.service.options import AlbumOptions, MeshFormat
from facewright.service.pipeline.album import (
    Album,
    AlbumFace,
    FailedPhoto,
    PhotoMap,
    Source,
    album_face,
    album_overlay,
    album_picture,
    album_strategy,
)
from facewright.service.pipeline.album_texture import album_texture
from facewright.service.pipeline.engine import Engine
from facewright.service.pipeline.job import Job, SharedJob
from facewright.service.results import schemas
from facewright.service.results.contact_sheet import TILE_SIDE, Tile, draw_sheet
from facewright.service.results.descriptions import (
    describe_face,
    face_model_reference,
    rounded,
    weights_reference,
)
from facewright.service.results.mesh_files import face_file, identity_file
from facewright.service.results.writer import ARCHIVED, Writer, picture_in_json

OVERLAY_SIDE = 1280
"""Longer side in pixels of an album's overlays: 64 of them fit into memory and one answer."""


class AlbumWriter(Writer):
    """Writes one album: JSON, the identity's mesh, a sheet of overlays, or everything.

    `names` are those of the photos, where there are any.
    """

    mesh_name, picture_name, archive_name = "identity", "album", "album"
    _options: AlbumOptions
    _job: SharedJob

    def __init__(
        self,
        engine: Engine,
        album: Album,
        sources: Sequence[Source],
        options: AlbumOptions,
        photo_map: PhotoMap,
        job: SharedJob,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(engine, options, job)
        self._album = album
        self._sources = sources
        self._map = photo_map
        self._names = names
        self._baked: ByteArray | None = None

    def result(self) -> schemas.AlbumResult:
        """The JSON document, with what `include` asks for."""
        album, options = self._album, self._options
        mesh = None
        if "mesh" in options.include:
            mesh = self._mesh_in_json(self.mesh(options.mesh_format))
        return schemas.AlbumResult(
            face_model=face_model_reference(self._engine),
            weights=weights_reference(self._engine),
            detector=self._engine.detector.name,
            strategy=album_strategy(self._engine, options),
            faces=options.faces,
            outliers=options.outliers,
            judged_by=self._engine.evidence,
            stranger_distance=self._engine.regressor.stranger_distance,
            stranger_similarity=self._engine.stranger_similarity,
            texture=options.texture,
            mesh=options.mesh,
            identity=schemas.AlbumIdentity(
                coefficients=rounded(album.identity),
                albedo=rounded(album.albedo),
                photos_used=album.photos_used,
                mesh=mesh,
            ),
            photos=list(self._map(self._describe, range(len(album.photos)))),
        )

    def mesh(self, form: MeshFormat, material_file: str | None = None) -> bytes:
        """The neutral mesh of the identity; an OBJ file may name a material file beside it."""
        texture = None if form == "stl" else self._texture()
        self._job.check()
        return identity_file(
            self._engine,
            self._album.identity,
            self._album.albedo,
            form,
            self._options.choice,
            self._job,
            texture,
            material_file,
        )

    def mesh_files(self, forms: Sequence[MeshFormat] = ARCHIVED) -> Iterator[tuple[str, bytes]]:
        """Names and contents of the identity's meshes and of what belongs to them."""
        for form in forms:
            yield from self._files_of_mesh(self.mesh, self._texture(), form, "identity")

    def pictures(
        self, index: int, longest_side: int, job: Job
    ) -> tuple[ByteArray | None, ByteArray | None]:
        """A photo, reduced to at most `longest_side` px, without and with its face drawn on it.

        Of a photo that has failed there is no second, and no first if it cannot be decoded.
        """
        photo = self._album.photos[index]
        try:
            picture = album_picture(self._engine, self._sources[index], longest_side, job)
        except BadPhoto:
            if isinstance(photo, FailedPhoto):
                return None, None
            raise
        if isinstance(photo, FailedPhoto):
            return picture, None
        with job.stage("reconstruct"):
            face = album_face(self._engine, self._album, photo)
        landmarks = self._options.landmarks
        return picture, album_overlay(
            self._engine, picture, photo, face, landmarks=landmarks, job=job
        )

    def picture(self, media_type: str) -> bytes:
        """All photos with the identity drawn on them as one picture, a JPEG or PNG file."""
        tiles = list(self._map(self._tile, range(len(self._album.photos))))
        with self._job.stage("encode"):
            return encode_picture(draw_sheet(tiles), media_type)

    def main_mesh(self, form: MeshFormat) -> bytes:
        """The neutral mesh of the identity."""
        return self.mesh(form)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """JSON, the identity's meshes and a folder for each photo."""
        yield "result.json", self.json_answer().body
        yield from self.mesh_files()

        def work(index: int) -> tuple[int, bytes, bytes]:
            with self._job.child() as job:
                return index, self._overlay(index, job), self._face_mesh(index, job)

        for index, overlay, mesh in self._map(work, self._faces()):
            yield f"photo{index:02}/overlay.jpg", overlay
            yield f"photo{index:02}/face.glb", mesh

    def _texture(self) -> ByteArray | None:
        """The identity's texture if one is asked for, baked once."""
        if self._options.texture == "albedo":
            return None
        if self._baked is None:
            size, subject = self._options.texture_size, self._options.mesh
            self._baked = album_texture(
                self._engine, self._album, self._sources, size, self._job, subject
            )
        return self._baked

    def _faces(self) -> list[int]:
        photos = self._album.photos
        return [index for index, photo in enumerate(photos) if isinstance(photo, AlbumFace)]

    def _overlay(self, index: int, job: Job) -> bytes:
        _, overlay = self.pictures(index, OVERLAY_SIDE, job)
        assert overlay is not None  # asked for photos with a face only
        with job.stage("encode"):
            return encode_picture(overlay, JPEG)

    def _face_mesh(self, index: int, job: Job) -> bytes:
        photo = self._album.photos[index]
        assert isinstance(photo, AlbumFace)
        with job.stage("reconstruct"):
            face = album_face(self._engine, self._album, photo)
        choice = self._options.choice._replace(expression="keep")
        return face_file(self._engine, face, "glb", choice, job)

    def _tile(self, index: int) -> Tile:
        photo = self._album.photos[index]
        with self._job.child() as job:
            picture, overlay = self.pictures(index, TILE_SIDE, job)
        if isinstance(photo, FailedPhoto):
            return Tile(picture, failed=True)
        return Tile(overlay, photo.is_stranger)

    def _describe(self, index: int) -> schemas.AlbumPhoto:
        photo = self._album.photos[index]
        name = None if self._names is None else self._names[index]
        if isinstance(photo, FailedPhoto):
            problem = photo.problem
            return schemas.AlbumPhoto(
                index=index,
                name=name,
                status="failed",
                problem=schemas.PhotoProblem(
                    code=problem.code, title=problem.title, detail=problem.detail
                ),
            )
        self._job.check()
        with self._job.child() as job:
            with job.stage("reconstruct"):
                face = album_face(self._engine, self._album, photo)
            overlay = None
            if "overlay" in self._options.include:
                overlay = picture_in_json(self._overlay(index, job))
        likeness = None
        if photo.distance is not None:
            likeness = schemas.Likeness(
                distance=round(photo.distance, 4),
                similarity=None if photo.similarity is None else round(photo.similarity, 4),
                stranger=photo.is_stranger,
            )
        return schemas.AlbumPhoto(
            index=index,
            name=name,
            status="used" if photo.used else "left_out",
            photo=schemas.Photo(width=photo.width, height=photo.height),
            faces_found=photo.faces_found if self._options.faces == "consistent" else None,
            likeness=likeness,
            share=round(photo.share, 6),
            face=describe_face(
                face,
                confidences="confidences" in self._options.include,
                blendshapes=self._engine.blendshapes,
            ),
            overlay=overlay,
        )
