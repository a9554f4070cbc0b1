"""Every error that facewright reports to a client, in one place.

FacewrightError
├── BadPhoto                  400  the bytes that were sent; itself: too small for a face
│   ├── UndecodablePhoto      400  empty, truncated or corrupt
│   ├── UnreadablePhoto       400  a file of a bulk run that cannot be read; never sent
│   ├── PhotoTooLarge         413  too many bytes or too many pixels
│   └── UnsupportedPhotoType  415  no JPEG, PNG, WebP, HEIC or AVIF
├── BadRequest                     what was asked for
│   ├── Unauthorized          401  no valid API key where keys are asked for
│   ├── MalformedRequest      400  a body that is not what its headers say
│   ├── HeadersTooLarge       431  the head of the request is too large
│   ├── UnsupportedTransferEncoding 501  a transfer encoding other than chunked
│   ├── RequestTimeout        408  the head did not arrive in time
│   ├── UploadTimeout         408  the body did not arrive in time
│   ├── UnsupportedMediaType  415  a body that is no form, image or JSON
│   ├── InvalidParameter      422  a parameter is missing or out of range
│   ├── NotAcceptable         406  no form of the answer matches `Accept`
│   ├── NoFaceFound           422  a sound photo without a face in it
│   └── TooFewPhotos          422  an album with fewer usable photos than asked for
├── Unavailable                    the state of the server
│   ├── QueueFull             429  try again after `retry_after` seconds
│   ├── NotReady              503  starting or draining
│   └── DeadlinePassed        504  no answer within the request's time
├── ModelError                500  a model or weights file is unusable
└── ConfigurationError        500  a file that a setting names is unusable; ends the start

`code` is stable and made for programs; the message is made for people.  Neither ever
holds image content, file names or paths that a client sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class FacewrightError(Exception):
    """Base of all errors of the service.

    `status` is the HTTP status, `code` a stable identifier, `title` the short text of
    RFC 9457; the exception's message is the RFC's `detail`.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class BadPhoto(FacewrightError):
    """The uploaded bytes cannot be used as a photo."""

    status = 400
    code = "bad_photo"
    title = "Bad photo"


class UndecodablePhoto(BadPhoto):
    """The bytes are empty, truncated or corrupt."""

    code = "undecodable_photo"
    title = "Photo cannot be decoded"


class UnreadablePhoto(BadPhoto):
    """A file, object or row that a bulk run was given cannot be read.  Never sent."""

    code = "unreadable_photo"
    title = "Photo cannot be read"


class PhotoTooLarge(BadPhoto):
    """The photo has more bytes or pixels than the server's limits."""

    status = 413
    code = "photo_too_large"
    title = "Photo too large"


class UnsupportedPhotoType(BadPhoto):
    """The bytes are not an image of an accepted type."""

    status = 415
    code = "unsupported_photo_type"
    title = "Unsupported photo type"


class BadRequest(FacewrightError):
    """Base: the request asks for something that cannot be answered.  Never sent itself."""

    status = 422
    code = "bad_request"
    title = "Bad request"


class Unauthorized(BadRequest):
    """The server asks for API keys, and none or a wrong one was sent."""

    status = 401
    code = "unauthorized"
    title = "Unauthorized"


class MalformedRequest(BadRequest):
    """The body breaks the rules of its content type, or ended early."""

    status = 400
    code = "malformed_request"
    title = "Malformed request"


class HeadersTooLarge(BadRequest):
    """The head of the request is larger than the HTTP parser takes."""

    status = 431
    code = "headers_too_large"
    title = "Headers too large"


class UnsupportedTransferEncoding(BadRequest):
    """A `Transfer-Encoding` other than chunked."""

    status = 501
    code = "unsupported_transfer_encoding"
    title = "Unsupported transfer encoding"


class RequestTimeout(BadRequest):
    """The head of the request did not arrive in time."""

    status = 408
    code = "request_timeout"
    title = "Request took too long"


class UploadTimeout(BadRequest):
    """The body did not arrive within the time for uploads."""

    status = 408
    code = "upload_timeout"
    title = "Upload took too long"


class UnsupportedMediaType(BadRequest):
    """The `Content-Type` of the body is no form, image or JSON, or it is encoded."""

    status = 415
    code = "unsupported_media_type"
    title = "Unsupported media type"


class InvalidParameter(BadRequest):
    """A parameter is missing, malformed or out of range.

    `fields` are the names of such parameters, each with what is wrong with it.
    """

    code = "invalid_parameter"
    title = "Invalid parameter"

    def __init__(self, detail: str, fields: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(detail)
        self.fields = fields


class NotAcceptable(BadRequest):
    """None of the forms named in `Accept` can be produced."""

    status = 406
    code = "not_acceptable"
    title = "Not acceptable"


class NoFaceFound(BadRequest):
    """The photo is sound, but no face was found in any orientation."""

    code = "no_face_found"
    title = "No face found"


class TooFewPhotos(BadRequest):
    """Fewer photos of the album than `min_photos` show a face."""

    code = "too_few_photos"
    title = "Too few usable photos"


class Unavailable(FacewrightError):
    """Base: the server cannot take or finish the work now.  Never sent itself."""

    status = 503
    code = "unavailable"
    title = "Unavailable"
    retry_after: int | None = None
    """Seconds after which another try makes sense; None if nobody knows."""


class QueueFull(Unavailable):
    """Too much work is waiting; `retry_after` (seconds, >= 1) says when to come back."""

    status = 429
    code = "queue_full"
    title = "Queue full"

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class NotReady(Unavailable):
    """The server is starting or draining."""

    code = "not_ready"
    title = "Not ready"
    retry_after = 2


class DeadlinePassed(Unavailable):
    """The answer was not ready within the request's time."""

    status = 504
    code = "deadline_passed"
    title = "Deadline passed"


class ModelError(FacewrightError):
    """A face model or weights file is missing, corrupt or does not fit the others."""

    code = "model_error"
    title = "Model error"


class ConfigurationError(FacewrightError):
    """What a setting names, a file or an address, cannot be used.  Ends the start; never sent."""

    code = "configuration_error"
    title = "Configuration error"
