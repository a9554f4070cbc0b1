"""`POST /v1/albums/reconstruct`: photos of one person in, one identity in 3D out."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from facewright.models.agreement import STRANGER_DISTANCE
from facewright.service import errors
from facewright.service.api.negotiation import choose_media_type
from facewright.service.api.parameters import Asked
from facewright.service.api.problems import problem_responses
from facewright.service.api.routes.photo_calls import (
    BASE64,
    BINARY,
    request_body,
    respond,
    stages_ms,
    success,
    unless_disconnected,
)
from facewright.service.api.state import Server
from facewright.service.api.upload import ALBUM_PART, Upload, read_album
from facewright.service.formats.media_types import JSON
from facewright.service.options import AlbumOptions
from facewright.service.pipeline.album import Source, solve_album
from facewright.service.pipeline.job import SharedJob
from facewright.service.results.album_answers import AlbumWriter
from facewright.service.results.schemas import (
    AlbumIdentity,
    AlbumPhoto,
    AlbumResult,
    Likeness,
    ModelReference,
    Photo,
    PhotoProblem,
)
from facewright.service.results.writer import FORMS, Answer
from facewright.service.runtime.deadline import Deadline
from facewright.service.telemetry.stages import SharedClock

PHOTO_COUNT_HEADER = "Facewright-Photos"

router = APIRouter(prefix="/v1/albums", tags=["reconstruction"])

_PROBLEMS = problem_responses(
    (errors.MalformedRequest, "The body is not well-formed multipart/form-data."),
    (errors.Unauthorized, "Send a valid key in the header X-API-Key."),
    (errors.NotAcceptable, f"Possible forms of the answer: {', '.join(FORMS)}."),
    (errors.UploadTimeout, "The album did not arrive within 60 seconds."),
    (errors.PhotoTooLarge, "The album has more than 300000000 bytes."),
    (errors.UnsupportedMediaType, "Send the photos as parts `images` of a multipart/form-data "
     "body."),
    (errors.InvalidParameter, "An album has at least 2 photos; for one photo there is "
     "/v1/reconstruct."),
    (errors.TooFewPhotos, "1 of 3 photos can be used, but 2 are asked for (photo 0: "
     "no_face_found, photo 2: undecodable_photo)."),
    (errors.QueueFull, "Too many albums are waiting."),
    (errors.FacewrightError, "An unexpected error; the server's log has an entry."),
    (errors.NotReady, "The models are being loaded."),
    (errors.DeadlinePassed, "The answer was not ready within the request's time."),
    instance="/v1/albums/reconstruct",
)  # fmt: skip


def _photos(photo: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "array",
        "minItems": 2,
        "maxItems": 64,
        "items": photo,
        "description": "The photos: JPEG, PNG, WebP, HEIC or AVIF.",
    }


_BODY = request_body(AlbumOptions, ALBUM_PART, _photos(BINARY), _photos(BASE64), "AlbumInJson")


_EXAMPLE = AlbumResult(
    face_model=ModelReference(name="facewright-open", version="1", sha256="9f86d081…"),
    weights=ModelReference(name="facewright-rnet", version="1", sha256="60303ae2…"),
    detector="blazeface",
    strategy="confidence",
    faces="largest",
    outliers="flag",
    judged_by="shape",
    stranger_distance=STRANGER_DISTANCE,
    mesh="face",
    texture="photo",
    identity=AlbumIdentity(coefficients=[0.25] * 80, albedo=[-0.5] * 80, photos_used=2),
    photos=[
        AlbumPhoto(
            index=index,
            status="used",
            photo=Photo(width=1600, height=1200),
            likeness=Likeness(distance=1.62, stranger=False),
            share=share,
        )
        for index, share in enumerate((0.59, 0.41))
    ]
    + [
        AlbumPhoto(
            index=2,
            status="failed",
            problem=PhotoProblem(
                code=errors.NoFaceFound.code,
                title=errors.NoFaceFound.title,
                detail="No face was found in the photo, in any orientation.",
            ),
        )
    ],
)
"""Without `face`, which is as in the answer for one photo."""

_SUCCESS = success(
    "The identity and the photos in the form that `Accept` prefers.",
    PHOTO_COUNT_HEADER,
    "How many photos the identity is made of.",
)
_SUCCESS[200]["content"][JSON] = {"example": _EXAMPLE.model_dump(exclude_none=True)}


@router.post(
    "/reconstruct",
    summary="Reconstruct one person from an album",
    response_model=AlbumResult,
    responses={**_SUCCESS, **_PROBLEMS},
    openapi_extra=_BODY,
)
async def reconstruct_album(request: Request, server: Server) -> Response:
    """Reconstruct the one identity of 2 to 64 photos of a person.

    The photos are the form's parts `images`, or the list `images` of a JSON object in base64.
    Options stand in the query, in the form or in the JSON. `Accept` chooses the answer's form:
    JSON, the neutral mesh of the identity, all photos with the identity drawn on them on one
    sheet as JPEG or PNG, or a ZIP file with everything. A photo that cannot be used is
    reported in the JSON and does not stop the others. The header `Facewright-Photos` says how
    many photos were used.
    """
    settings, metrics = server.settings, server.metrics
    asked = Asked(AlbumOptions, request.query_params)
    accept = ", ".join(request.headers.getlist("accept"))
    media_type = choose_media_type(accept, FORMS)
    engine = server.lifecycle.engine
    # An album is large: it has its place from the first byte to the answer.
    with server.albums.admit() as ticket:
        received = await read_album(
            request,
            AlbumOptions,
            max_photos=settings.max_album_photos,
            max_bytes=settings.max_album_bytes,
            max_photo_bytes=settings.max_upload_bytes,
            timeout=settings.album_upload_timeout,
        )
        options = asked.together_with(received.options, texts=received.texts)
        uploads = received.photos
        sources = [_source(upload) for upload in uploads]
        clock = SharedClock(metrics.observe_stages)
        job = SharedJob(Deadline(settings.album_timeout), clock)
        photo_map = partial(server.photos.map, parallel=settings.album_concurrency)

        def work() -> tuple[Answer, int]:
            album = solve_album(engine, sources, options, photo_map, job)
            job.check()
            writer = AlbumWriter(engine, album, sources, options, photo_map, job)
            return writer.write(media_type), album.photos_used

        answer, photos_used = await unless_disconnected(request, ticket.run(work, job.deadline))

    metrics.album_photos.observe(len(uploads))
    request.state.log.update(
        photo_bytes=sum(len(upload) for upload in uploads if isinstance(upload, bytes)),
        photos=len(uploads),
        photos_used=photos_used,
        stages_ms=stages_ms(clock),
    )
    return respond(answer, clock, {PHOTO_COUNT_HEADER: str(photos_used)})


def _source(upload: Upload) -> Source:
    def read() -> bytes:
        if isinstance(upload, bytes):
            return upload
        raise upload

    return read
