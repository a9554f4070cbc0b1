"""A page that shows an album's face and what each photo did for it; one file, nothing fetched."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from string import Template

from facewright.service.results.schemas import AlbumPhoto, AlbumResult, Likeness
from facewright.service.results.single_file import SHARED, hashes, single_file

_HTML = (SHARED / "album.html").read_text("utf-8")
_WHOLE = single_file(_HTML, [SHARED])
_PAGE = Template(_HTML)

_BAR_WIDTH, _BAR_HEIGHT = 3, 48


@dataclass(frozen=True)
class PhotoRow:
    """One photo on the page."""

    photo: AlbumPhoto
    picture: bytes | None
    """JPEG file; None where there is none."""
    overlay: bytes | None


def album_page(title: str, result: AlbumResult, rows: Sequence[PhotoRow], mesh: bytes) -> str:
    """The page as HTML; `title` and the photos' names may hold any characters.

    mesh: the identity's GLB file.
    """
    strangers = sum(bool(row.photo.likeness and row.photo.likeness.stranger) for row in rows)
    failed = sum(row.photo.status == "failed" for row in rows)
    most = max((row.photo.share or 0.0 for row in rows), default=0.0)
    page = _PAGE.substitute(
        styles=hashes(_WHOLE, "style"),
        scripts=hashes(_WHOLE, "script"),
        mesh=base64.b64encode(mesh).decode(),
        title=escape(title),
        used=result.identity.photos_used,
        count=len(rows),
        strangers=strangers,
        failed=failed,
        strategy=result.strategy,
        limit=" ".join(stranger_limit(result)),
        weights=escape(f"{result.weights.name} {result.weights.version}"),
        face_model=escape(f"{result.face_model.name} {result.face_model.version}"),
        rows="\n".join(_row(row, most) for row in rows),
    )
    return single_file(page, [SHARED])


def evidence(likeness: Likeness) -> tuple[str, str]:
    """By what a photo was taken for a stranger or not, such as "distance" and "1.62"."""
    if likeness.similarity is not None:
        return "similarity", f"{likeness.similarity:.2f}"
    return "distance", f"{likeness.distance:.2f}"


def stranger_limit(result: AlbumResult) -> tuple[str, str]:
    """What makes a stranger, such as "distance" and "above 2.7"."""
    if result.stranger_similarity is None:
        return "distance", f"above {result.stranger_distance:g}"
    return "similarity", f"below {result.stranger_similarity:g}"


def _row(row: PhotoRow, most: float) -> str:
    photo = row.photo
    stranger = photo.likeness is not None and photo.likeness.stranger
    facts, tags = [], []
    if photo.problem is not None:
        facts.append(("Problem", escape(photo.problem.title)))
    if photo.face is not None:
        confidence = photo.face.confidence
        facts.append(
            ("Confidence", f"{confidence.mean:.2f} ({confidence.min:.2f} to {confidence.max:.2f})")
        )
    if photo.share is not None:
        facts.append(("Share", f"{100 * photo.share:.1f}%"))
    if photo.likeness is not None:
        name, value = evidence(photo.likeness)
        facts.append((name.capitalize(), value))
    if stranger:
        tags.append('<span class="tag stranger">Seems somebody else</span>')
    if photo.status == "left_out":
        tags.append('<span class="tag">Left out</span>')
    if photo.status == "failed":
        tags.append('<span class="tag failed">Not used</span>')
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)
    share = bars = ""
    if photo.share is not None and most > 0.0:
        share = _share(photo.share / most)
    if photo.face is not None and photo.face.confidences is not None:
        bars = _bars(photo.face.confidences)
    kind = "stranger" if stranger else photo.status
    pictures = _image(row.picture, "photo") + _image(row.overlay, "overlay")
    return (
        f'<article class="card {kind}"><h2>{escape(photo.name or f"photo {photo.index}")}</h2>'
        f'<div class="pictures">{pictures}</div>{share}{" ".join(tags)}<dl>{listed}</dl>{bars}'
        "</article>"
    )


def _image(jpeg: bytes | None, what: str) -> str:
    if jpeg is None:
        return f'<div class="empty">no {what}</div>'
    return f'<img alt="{what}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'


def _share(part: float) -> str:
    """A bar of the photo's share; full width is the album's largest."""
    return (
        f'<svg class="share" aria-hidden="true" viewBox="0 0 100 6" preserveAspectRatio="none">'
        f'<rect width="{100 * part:.1f}" height="6"/></svg>'
    )


def _bars(confidences: Sequence[float]) -> str:
    """One bar per identity coefficient, from the first on the left; full height is 1."""
    bars = "".join(
        f'<rect x="{index * _BAR_WIDTH}" y="{_BAR_HEIGHT * (1 - value):.1f}" '
        f'width="{_BAR_WIDTH - 1}" height="{_BAR_HEIGHT * value:.1f}"/>'
        for index, value in enumerate(confidences)
    )
    width = _BAR_WIDTH * len(confidences)
    return (
        f'<svg class="bars" role="img" aria-label="confidence of each identity coefficient" '
        f'viewBox="0 0 {width} {_BAR_HEIGHT}" preserveAspectRatio="none">{bars}</svg>'
    )
