"""`POST /v1/reconstruct`: a photo in, its faces in 3D out."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

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
from facewright.service.api.upload import PHOTO_PART, RAW_TYPES, read_photo
from facewright.service.options import ReconstructOptions
from facewright.service.pipeline.job import Job
from facewright.service.results.answers import AnswerWriter, shows_photo
from facewright.service.results.schemas import ReconstructResult
from facewright.service.results.writer import FORMS, Answer
from facewright.service.runtime.deadline import Deadline

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
    (
        errors.UnsupportedPhotoType,
        "The photo is of the type GIF; send a JPEG, PNG, WebP, HEIC or AVIF file.",
    ),
    (errors.UnsupportedMediaType, "Send the photo as part `image` of a multipart/form-data body."),
    (errors.NoFaceFound, "No face was found in the photo, in any orientation."),
    (errors.InvalidParameter, "faces must be one of all, largest"),
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
_BODY = request_body(
    ReconstructOptions,
    PHOTO_PART,
    {**BINARY, "description": "The photo: JPEG, PNG, WebP, HEIC or AVIF."},
    {**BASE64, "description": "The photo in base64, or as a data URI."},
    "PhotoInJson",
    RAW_TYPES,
)


@router.post(
    "/reconstruct",
    summary="Reconstruct the faces of a photo",
    response_model=ReconstructResult,
    responses={**_SUCCESS, **_PROBLEMS},
    openapi_extra=_BODY,
)
async def reconstruct(request: Request, server: Server) -> Response:
    """Reconstruct every face of a photo, or the largest, in 3D.

    The photo is the form's part `image`, the whole body, or `image` of a JSON object in base64.
    Options stand in the query, in the form or in the JSON. `Accept` chooses the answer's form:
    JSON, the mesh of the largest face (of all, as GLB with `pose=camera`), the overlay of all faces
    as JPEG or PNG, or a ZIP file with everything. The header `Facewright-Faces` says how many faces
    there are.
    """
    settings, metrics = server.settings, server.metrics
    asked = Asked(ReconstructOptions, request.query_params)
    media_type = choose_media_type(", ".join(request.headers.getlist("accept")), FORMS)
    engine = server.lifecycle.engine
    server.photos.check()
    with server.uploads.hold():
        received = await read_photo(
            request, ReconstructOptions, settings.max_upload_bytes, settings.upload_timeout
        )
    options = asked.together_with(received.options, texts=received.texts)
    (photo,) = received.photos
    assert isinstance(photo, bytes)  # a single one that is too large has been refused
    with server.photos.admit() as ticket:
        job = Job(Deadline(settings.request_timeout))

        def work() -> tuple[Answer, int]:
            try:
                reduced = not shows_photo(media_type, options)
                scene = engine.reconstruct(photo, options.faces, job, reduced=reduced)
                job.check()
                writer = AnswerWriter(engine, scene, options, job)
                answer = writer.write(media_type)
            finally:
                metrics.observe_stages(job.clock)
            metrics.faces.observe(len(scene.faces))
            return answer, len(scene.faces)

        answer, face_count = await unless_disconnected(request, ticket.run(work, job.deadline))

    request.state.log.update(
        photo_bytes=len(photo),
        faces=face_count,
        stages_ms=stages_ms(job.clock),
    )
    return respond(answer, job.clock, {FACE_COUNT_HEADER: str(face_count)})
