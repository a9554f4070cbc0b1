"""Folders of scan benchmarks as their holders have them: which photo belongs to which scan.

The data need licenses of their own and are not shipped; `docs/evaluation.md` describes the layouts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from facewright.training.evaluation.errors import ScanError
from facewright.training.evaluation.scan_files import LANDMARK_SUFFIXES, read_obj, read_points
from facewright.training.evaluation.scans import FACEWAREHOUSE_4, Scan, markup_of

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class BenchmarkPhoto:
    """A photo of somebody who was scanned.

    Attributes:
        path: of the picture.
        subject: who.
        category: kind of photo, under which errors are averaged.
        output: where the prediction belongs in a folder of predictions, without suffix.
    """

    path: Path
    subject: str
    category: str
    output: Path


class Benchmark(Protocol):
    """What the evaluation needs of a benchmark.

    Attributes:
        name: for reports.
        root: the holder's folder.
        photo_root: the folder that the photos' own names are relative to.
        photos: all photos, subject by subject.
        videos: whether the photos of a subject and category are frames of one video.
    """

    name: str
    root: Path
    photo_root: Path
    photos: Sequence[BenchmarkPhoto]
    videos: bool

    def scan(self, subject: str) -> Scan:
        """The neutral scan of a subject.

        Raises:
            ScanError: it cannot be read. OSError: a file is missing.
        """
        ...


class Florence:
    """MICC Florence 2D/3D: neutral scans, and frames of three videos of each subject.

    ::

        subject_01/Model/frontal1/obj/*.obj                 the scan (frontal2 if there is no other)
        subject_01/Video/Indoor-Cooperative/*.jpg           frames, extracted by the user;
        subject_01/Video/PTZ-Indoor/*.jpg                   the folder Video may be left out
        subject_01/Video/PTZ-Outdoor/*.jpg

    The data come without landmarks: points picked on each scan are expected beside it or in a
    second folder of the same layout, with the scan's name and a suffix of
    `evaluation.scan_files.LANDMARK_SUFFIXES`.  Subjects without scan, landmarks
    or frames are left out.

    Args:
        root: the folder of the subjects.
        landmarks: folder of the picked points; else they are beside the scans.
        frames: most frames to take of a video, evenly spaced; None for all.
        mm_per_unit: of the scans.
    """

    name = "MICC Florence"
    videos = True
    situations = ("Indoor-Cooperative", "PTZ-Indoor", "PTZ-Outdoor")

    def __init__(
        self,
        root: Path,
        *,
        landmarks: Path | None = None,
        frames: int | None = 10,
        mm_per_unit: float = 1.0,
    ) -> None:
        self.root = self.photo_root = root
        self._mm_per_unit = mm_per_unit
        self._scans: dict[str, tuple[Path, Path]] = {}
        photos: list[BenchmarkPhoto] = []
        for folder in sorted(root.glob("subject_*")):
            scan = _first_obj(folder / "Model" / view / "obj" for view in ("frontal1", "frontal2"))
            if scan is None:
                continue
            picked = _landmarks_of(scan, root, landmarks or root)
            if picked is None:
                continue
            self._scans[folder.name] = scan, picked
            for situation in self.situations:
                videos = (folder / "Video" / situation, folder / situation)
                found = next((p for video in videos if (p := _pictures(video))), [])
                photos += [
                    BenchmarkPhoto(
                        path, folder.name, situation, Path(folder.name, situation, path.stem)
                    )
                    for path in _evenly(found, frames)
                ]
        expected = "subject_*/Video/<situation>/*.jpg of subjects with scan and landmarks"
        self.photos: Sequence[BenchmarkPhoto] = _some(photos, root, expected)

    def scan(self, subject: str) -> Scan:
        """The neutral scan of a subject, mm."""
        path, picked = self._scans[subject]
        return _read_scan(path, picked, self._mm_per_unit)


class Now:
    """NoW: photos of four challenges, scans of the validation subjects, seven landmarks each.

    ::

        imagepathsvalidation.txt                            <subject>/<challenge>/<photo> a line
        imagepathstest.txt
        iphone_pictures/<subject>/<challenge>/*.jpg         (also below final_release_version/ or
                                                            NoW_Dataset/final_release_version/)
        scans/<subject>/*.obj
        scans_lmks_onlypp/<subject>/*.pp

    Args:
        root: the folder with the lists.
        subset: which list; of the test subjects there are no scans, only predictions can be
            written for them.

    Raises:
        ScanError: a list or the photos are missing.
    """

    name = "NoW"
    videos = False
    challenges = ("multiview_neutral", "multiview_expressions", "multiview_occlusions", "selfie")

    def __init__(self, root: Path, *, subset: Literal["validation", "test"] = "validation") -> None:
        self.root = root
        places = ("", "final_release_version", "NoW_Dataset/final_release_version")
        folders = [root / place / "iphone_pictures" for place in places]
        photo_root = next((folder for folder in folders if folder.is_dir()), None)
        if photo_root is None:
            raise ScanError(f"{root}: no folder iphone_pictures")
        self.photo_root = photo_root
        names = root / f"imagepaths{subset}.txt"
        if not names.is_file():
            raise ScanError(f"{names} is missing")
        photos = []
        for line in names.read_text().split():
            parts = line.split("/")[-3:]
            if len(parts) < 3 or parts[1] not in self.challenges:
                raise ScanError(f"{names}: not <subject>/<challenge>/<photo>: {line}")
            path = photo_root.joinpath(*parts)
            photos.append(BenchmarkPhoto(path, parts[0], parts[1], Path(*parts).with_suffix("")))
        self.photos: Sequence[BenchmarkPhoto] = _some(
            sorted(photos, key=lambda p: p.subject), root, names.name
        )

    def scan(self, subject: str) -> Scan:
        """The neutral scan of a subject, mm."""
        path = _first_obj([self.root / "scans" / subject])
        if path is None:
            raise ScanError(f"{self.root}/scans/{subject}: no scan")
        picked = sorted((self.root / "scans_lmks_onlypp" / subject).glob("*.pp"))
        if not picked:
            raise ScanError(f"{self.root}/scans_lmks_onlypp/{subject}: no landmarks")
        return _read_scan(path, picked[0], 1.0)


class FaceWarehouse:
    """FaceWarehouse: the neutral photo of each person and the mesh fitted to their depth image.

    ::

        Tester_1/TrainingPose/pose_0.png                    (or one folder further down)
        Tester_1/TrainingPose/pose_0.obj

    The meshes share their 11510 vertices, so the landmarks are four of these, numbered by Ramon
    et al. (Hyperparameter-Free Losses for Model-Based Monocular Reconstruction, 2019).

    Args:
        root: a folder with the folders of the persons.
        mm_per_unit: of the meshes.
    """

    name = "FaceWarehouse"
    videos = False
    vertex_count = 11510
    # Inner corners of the eye on the image's left and on its right, nose base, middle of the lips.
    landmark_vertices = (10821, 9376, 8935, 6168)

    def __init__(self, root: Path, *, mm_per_unit: float = 100.0) -> None:
        self.root = self.photo_root = root
        self._mm_per_unit = mm_per_unit
        self._meshes: dict[str, Path] = {}
        photos = []
        folders = [*root.glob("Tester_*/TrainingPose"), *root.glob("*/Tester_*/TrainingPose")]
        for folder in sorted(folders, key=lambda f: _natural(f.parent.name)):
            pictures = [p for p in _pictures(folder) if p.stem == "pose_0"]
            mesh = folder / "pose_0.obj"
            if pictures and mesh.is_file():
                subject = folder.parent.name
                self._meshes[subject] = mesh
                photos.append(
                    BenchmarkPhoto(pictures[0], subject, "neutral", Path(subject, "pose_0"))
                )
        self.photos: Sequence[BenchmarkPhoto] = _some(
            photos, root, "Tester_*/TrainingPose/pose_0.png and .obj"
        )

    def scan(self, subject: str) -> Scan:
        """The mesh of a person, mm."""
        path = self._meshes[subject]
        vertices, _ = read_obj(path)
        if len(vertices) != self.vertex_count:
            raise ScanError(
                f"{path} has {len(vertices)} vertices; the landmarks are vertices of a mesh of"
                f" {self.vertex_count}"
            )
        points = self._mm_per_unit * vertices
        return Scan(points, points[list(self.landmark_vertices)], FACEWAREHOUSE_4)


def _read_scan(path: Path, picked: Path, mm_per_unit: float) -> Scan:
    landmarks = mm_per_unit * read_points(picked)
    try:
        markup = markup_of(landmarks)
    except ScanError as error:
        raise ScanError(f"{picked}: {error}") from error
    return Scan(mm_per_unit * read_obj(path)[0], landmarks, markup)


def _first_obj(folders: Iterable[Path]) -> Path | None:
    for folder in folders:
        found = sorted(folder.glob("*.obj"))
        if found:
            return found[0]
    return None


def _landmarks_of(scan: Path, root: Path, landmarks: Path) -> Path | None:
    beside = landmarks / scan.relative_to(root)
    files = [beside.with_suffix(suffix) for suffix in LANDMARK_SUFFIXES]
    return next((file for file in files if file.is_file()), None)


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES]
    return sorted(found, key=lambda p: _natural(p.name))


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorting key that puts frame 9 before frame 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _evenly(paths: Sequence[Path], most: int | None) -> list[Path]:
    if most is None or most >= len(paths):
        return list(paths)
    rows = np.linspace(0, len(paths) - 1, most).round().astype(int)
    return [paths[k] for k in rows]


def _some(photos: list[BenchmarkPhoto], root: Path, expected: str) -> list[BenchmarkPhoto]:
    if not photos:
        raise ScanError(f"{root}: no photo found; expected {expected}")
    return photos
