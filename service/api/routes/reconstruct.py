"""`POST /v1/reconstruct`: a photo in, its faces in 3D out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from facewright.service import errors
from facewright.service.api.negotiation import choose_media_type
from facewright.service.api.problems import problem_responses
from facewright.service.api.routes.answering import (
    BINARY,
    respond,
    stages_ms,
    success,
    unless_disconnected,
)
from facewright.service.api.state import Server
from facewright.service.api.upload import FORM, PHOTO_PART, PHOTO_TYPES, RAW_TYPES, read_photo
from facewright.service.options import ReconstructOptions
from facewright.service.results.answers import FORMS, Answer, AnswerWriter, shows_photo
from facewright.service.results.schemas import ReconstructResult
from facewright.service.runtime.deadline import Deadline
from facewright.service.telemetry.stages import StageClock

FACE_COUNT_HEADER = "Facewright-Faces"

router = APIRouter(prefix="/v1", tags=["reconstruction"])

_PROBLEMS = problem_responses(
    (errors.UndecodablePhoto, "The JPEG data is truncated or corrupt."),
    (errors.BadPhoto, "The photo has 16 x 16 pixels; its shorter side must have at least 32."),
    (errors.MalformedRequest, "The body is not well-formed multipart/form-data."),
    (errors.Unauthorized, "Send a valid key in the header X-API-Key."),
    (errors.NotAcceptable, f"Possible forms of the answer: {', '.join(FORMS)}."),
    (errors.UploadTimeout, "The photo did not arrive within 30 seconds."),
    (errors.PhotoTooLarge, "The photo has more than 20000000 bytes."),
    (errors.UnsupportedPhotoType, "Send a JPEG, PNG or WebP photo."),
    (errors.UnsupportedMediaType, "Send the photo as part `image` of a multipart/form-data body."),
    (errors.NoFaceFound, "No face was found in the photo, in any orientation."),
    (errors.InvalidParameter, "faces: Input should be 'all' or 'largest'"),
    (errors.QueueFull, "Too many photos are waiting."),
    (errors.FacewrightError, "An unexpected error; the server's log has an entry."),
    (errors.NotReady, "The models are being loaded."),
    (errors.DeadlinePassed, "The answer was not ready within the request's time."),
)
_SUCCESS = success(
    "The reconstructed faces in the form that `Accept` prefers.",
    FACE_COUNT_HEADER,
    "How many faces were reconstructed.",
)
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": [PHOTO_PART],
                    "additionalProperties": False,
                    "properties": {
                        PHOTO_PART: {
                            "type": "string",
                            "format": "binary",
                            "description": "The photo: JPEG, PNG or WebP.",
                        }
                    },
                },
                "encoding": {PHOTO_PART: {"contentType": ", ".join(PHOTO_TYPES)}},
            },
            **{media_type: BINARY for media_type in RAW_TYPES},
        },
    }
}


@router.post(
    "/reconstruct",
    summary="Reconstruct the faces of a photo",
    response_model=ReconstructResult,
    responses={**_SUCCESS, **_PROBLEMS},
    openapi_extra=_BODY,
)
async def reconstruct(
    request: Request, server: Server, options: Annotated[ReconstructOptions, Query()]
) -> Response:
    """Reconstruct every face of a photo, or the largest, in 3D.

    The photo is the form's part `image`, or the whole body. `Accept` chooses the answer's
    form: JSON, the mesh of the largest face as GLB or OBJ, the overlay of all faces as JPEG
    or PNG, or a ZIP file with everything. The header `Facewright-Faces` says how many faces
    there are.
    """
    settings, metrics = server.settings, server.metrics
    media_type = choose_media_type(", ".join(request.headers.getlist("accept")), FORMS)
    engine = server.lifecycle.engine
    server.photos.check()
    with server.uploads.one():
        photo = await read_photo(request, settings.max_upload_bytes, settings.upload_timeout)
    with server.photos.admit() as ticket:
        deadline = Deadline(settings.request_timeout)
        clock = StageClock()

        def work() -> tuple[Answer, int]:
            try:
                reduced = not shows_photo(media_type, options)
                scene = engine.reconstruct(photo, options.faces, deadline, clock, reduced=reduced)
                deadline.check()
                writer = AnswerWriter(engine, scene, options, deadline, clock)
                answer = writer.write(media_type)
            finally:
                metrics.observe_stages(clock)
            metrics.faces.observe(len(scene.faces))
            return answer, len(scene.faces)

        answer, face_count = await unless_disconnected(request, ticket.run(work, deadline))

    request.state.log.update(
        photo_bytes=len(photo),
        faces=face_count,
        stages_ms=stages_ms(clock),
    )
    return respond(answer, clock, {FACE_COUNT_HEADER: str(face_count)})
