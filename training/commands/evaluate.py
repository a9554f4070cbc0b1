"""`facewright-train evaluate`: measure a network on portraits or on photographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from facewright.models.agreement import STRANGER_COSINE, STRANGER_DISTANCE
from facewright.training.commands.options import (
    FaceModelFile,
    HoldOut,
    LabelFile,
    LandmarkShift,
    NeededPointsFile,
    NetworkFile,
    PersonOf,
    PhotoFolder,
    PhotoLimit,
    PointsFile,
    Seed,
    load_face_model,
)
from facewright.training.commands.progress import failing_in_one_line, showing

if TYPE_CHECKING:
    from facewright.models.arrays import Array
    from facewright.models.layout import CoefficientLayout
    from facewright.models.morphable_model import MorphableModel
    from facewright.training.photos.labels import PhotoLabels
    from facewright.training.photos.people import People, PersonRule

app = typer.Typer(
    help="Measure a network beside the mean face.", no_args_is_help=True, add_completion=False
)

WhosePhotos = Annotated[
    Literal["train", "held-out", "all"], typer.Option(help="Whose photos, as `prepare` splits.")
]
_track = showing("evaluating")
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures here.")]


@app.command("synthetic")
def synthetic(
    network: NetworkFile,
    data: Annotated[Path, typer.Argument(help="Directory of held-out shards.")],
    scans: Annotated[
        int, typer.Option(min=0, help="Portraits to measure by the scan protocol too.")
    ] = 100,
    json: JsonFile = None,
    face_model: FaceModelFile = None,
) -> None:
    """Shape, landmark and pose errors on portraits whose coefficients are known."""
    from facewright.training.data.shards import ShardSet
    from facewright.training.evaluation.network import load_network
    from facewright.training.evaluation.synthetic import evaluate_synthetic

    with failing_in_one_line("evaluation"):
        shards = ShardSet(data)
        figures = evaluate_synthetic(
            load_network(network),
            load_face_model(face_model),
            shards,
            measured_on=f"{len(shards)} held-out synthetic portraits",
            scans=scans,
            track=_track,
        )
    _report(figures, json)


@app.command("photos")
def photos(
    network: NetworkFile,
    directory: PhotoFolder,
    labels: LabelFile,
    points: PointsFile = None,
    people: WhosePhotos = "all",
    hold_out: HoldOut = 0.15,
    landmark_shift: LandmarkShift = (0.0, 0.0),
    limit: PhotoLimit = None,
    seed: Seed = 0,
    json: JsonFile = None,
    face_model: FaceModelFile = None,
) -> None:
    """Landmark and color errors and separability of identities on photographs."""
    from facewright.training.evaluation.network import load_network
    from facewright.training.evaluation.photos import evaluate_photos
    from facewright.training.photos.conventions import read_convention

    with failing_in_one_line("evaluation"):
        chosen = _choose(labels, points, people, hold_out, limit, seed)
        model = load_face_model(face_model)
        figures = evaluate_photos(
            load_network(network),
            model,
            directory,
            chosen,
            measured_on=_photos_of(chosen, directory, people),
            convention=read_convention(model),
            shift=landmark_shift,
            seed=seed,
            track=_track,
        )
    _report(figures, json)


@app.command("blendshapes")
def blendshapes(
    network: NetworkFile,
    directory: PhotoFolder,
    labels: Annotated[Path, typer.Option(help=".npz of names, mesh468 and blendshapes52.")],
    calibrated: Annotated[
        bool, typer.Option(help="Of the calibrated blendshapes, not those of the mesh.")
    ] = False,
    points: PointsFile = None,
    people: WhosePhotos = "all",
    person: PersonOf = None,
    hold_out: HoldOut = 0.15,
    limit: PhotoLimit = None,
    seed: Seed = 0,
    json: JsonFile = None,
    face_model: FaceModelFile = None,
) -> None:
    """How far expressions move with Face Landmarker's blendshapes on photographs."""
    from facewright.models.assets import sha256
    from facewright.models.blendshape_calibration import BlendshapeCalibration, calibration_beside
    from facewright.training.evaluation.blendshapes import blendshape_figures

    with failing_in_one_line("evaluation"):
        chosen = _choose(labels, points, people, hold_out, limit, seed, person)
        model = load_face_model(face_model)
        layout, coefficients, told = _expressions(network, model, directory, labels, chosen)
        measured_on = _photos_of(chosen, directory, people)
        calibration = None
        if calibrated:
            beside = calibration_beside(network)
            calibration = BlendshapeCalibration.load(beside, sha256(network))
        figures = blendshape_figures(model, layout, coefficients, told, measured_on, calibration)
    _report(figures, json)


def calibrate_blendshapes(
    network: NetworkFile,
    directory: PhotoFolder,
    labels: Annotated[Path, typer.Option(help=".npz of names, mesh468 and blendshapes52.")],
    points: PointsFile = None,
    people: WhosePhotos = "train",
    person: PersonOf = None,
    hold_out: HoldOut = 0.15,
    limit: PhotoLimit = None,
    seed: Seed = 0,
    face_model: FaceModelFile = None,
) -> None:
    """Learn from photographs what blendshapes are worth; the result lies beside the network."""
    from facewright.models.assets import sha256
    from facewright.models.blendshape_calibration import calibration_beside
    from facewright.training.evaluation.calibration import calibrate

    with failing_in_one_line("evaluation"):
        chosen = _choose(labels, points, people, hold_out, limit, seed, person)
        model = load_face_model(face_model)
        layout, coefficients, told = _expressions(network, model, directory, labels, chosen)
        found = calibrate(layout, coefficients, told, sha256(network))
        found.save(calibration_beside(network))
    typer.echo(f"{calibration_beside(network)}: {len(found.names)} blendshapes")


def _expressions(
    network: Path, model: MorphableModel, directory: Path, labels: Path, chosen: PhotoLabels
) -> tuple[CoefficientLayout, Array, Array]:
    """The network's layout, its coefficients (N, …) of photos, and the labels' blendshapes."""
    from facewright.training.evaluation.blendshapes import read_blendshapes
    from facewright.training.evaluation.network import load_network
    from facewright.training.evaluation.photos import predict_photos

    told, loaded = read_blendshapes(labels, chosen.names), load_network(network)
    predicted = predict_photos(loaded, model, directory, chosen, track=_track)
    return loaded.layout, predicted.coefficients, told


@app.command("proportions")
def proportions(
    network: NetworkFile,
    directory: PhotoFolder,
    labels: LabelFile,
    points: PointsFile = None,
    people: WhosePhotos = "all",
    person: PersonOf = None,
    hold_out: HoldOut = 0.15,
    limit: PhotoLimit = None,
    seed: Seed = 0,
    json: JsonFile = None,
    face_model: FaceModelFile = None,
) -> None:
    """Whether predicted mouths, eyes, widths and skin follow the photographs."""
    from facewright.training.evaluation.network import load_network
    from facewright.training.evaluation.proportions import evaluate_proportions
    from facewright.training.photos.conventions import read_convention
    from facewright.training.photos.people import person_of

    with failing_in_one_line("evaluation"):
        chosen = _choose(labels, points, people, hold_out, limit, seed, person)
        model = load_face_model(face_model)
        figures = evaluate_proportions(
            load_network(network),
            model,
            directory,
            chosen,
            [person_of(name, person) for name in chosen.names],
            measured_on=_photos_of(chosen, directory, people),
            convention=read_convention(model),
            track=_track,
        )
    _report(figures, json)


@app.command("albums")
def albums(
    network: Annotated[Path, typer.Argument(help="Checkpoint with C-Net, or ONNX file.")],
    data: Annotated[list[Path], typer.Argument(help="Directories of held-out shards of one kind.")],
    out: Annotated[Path, typer.Option(help="Directory of tables and charts.")],
    people: Annotated[int, typer.Option(min=2, help="At most, drawn at random.")] = 300,
    draws: Annotated[int, typer.Option(min=1, help="Albums of each person and size.")] = 3,
    probes: Annotated[
        int, typer.Option(min=2, help="Pictures whose confidence is followed as they get worse.")
    ] = 40,
    seed: Seed = 0,
    page: Annotated[
        Path | None, typer.Option(help="Page to put the table into, between its markers.")
    ] = None,
    face_model: FaceModelFile = None,
) -> None:
    """Errors of albums of 1 to 20 photos by how their identities are made one."""
    from facewright.training.data.shards import ShardSet
    from facewright.training.evaluation.album_report import AlbumReport, insert
    from facewright.training.evaluation.albums import (
        SIZES,
        confidence_ranks,
        evaluate_albums,
        predict_albums,
        probe_confidences,
    )
    from facewright.training.evaluation.network import load_network

    with failing_in_one_line("evaluation"):
        shards = ShardSet(data)
        if not len(shards):
            raise ValueError(f"no shards in {', '.join(map(str, data))}")
        known = shards.meta.kind == "portraits"
        model = load_face_model(face_model)
        net = load_network(network)
        photos = predict_albums(
            net,
            model,
            shards,
            people=people,
            per_person=max(SIZES) if known else 2 * max(SIZES),
            seed=seed,
            track=_track,
        )
        report = AlbumReport(
            f"{len(photos.person)} {'synthetic portraits' if known else 'photographs'} of"
            f" {len(set(photos.person.tolist()))} people",
            "mean point-to-plane error, neutral" if known else "AUC of the identities' cosine",
            "mm" if known else "",
            evaluate_albums(photos, model, draws=draws, seed=seed, track=_track),
            probe_confidences(net, shards, photos, pictures=probes, seed=seed, track=_track),
            confidence_ranks(photos, model) if known else {},
        )
        report.show(Console())
        report.write(out)
        if page is not None:
            insert(report.markdown(), page)


@app.command("strangers")
def strangers(
    network: NetworkFile,
    directory: PhotoFolder,
    labels: LabelFile,
    points: PointsFile = None,
    people: WhosePhotos = "all",
    hold_out: HoldOut = 0.15,
    descriptors: Annotated[
        bool, typer.Option("--descriptors", help="By the network's descriptors, not by shape.")
    ] = False,
    distance: Annotated[
        float, typer.Option(min=0, help="Sigmas beyond which a photo counts as a stranger's.")
    ] = STRANGER_DISTANCE,
    cosine: Annotated[
        float, typer.Option(min=-1, max=1, help="With --descriptors: below which it does.")
    ] = STRANGER_COSINE,
    limit: PhotoLimit = None,
    seed: Seed = 0,
    json: JsonFile = None,
    face_model: FaceModelFile = None,
) -> None:
    """How many strangers in albums are noticed, and how many photos are taken for such."""
    from dataclasses import replace

    from facewright.training.evaluation.network import load_network
    from facewright.training.evaluation.photos import predict_photos
    from facewright.training.evaluation.strangers import stranger_figures
    from facewright.training.photos.people import person_of

    with failing_in_one_line("evaluation"):
        chosen = _choose(labels, points, people, hold_out, limit, seed)
        model = load_face_model(face_model)
        loaded = load_network(network)
        if descriptors:
            if loaded.describe is None:
                raise ValueError(f"{network} has no descriptors")
            loaded = replace(loaded, predict=loaded.describe)
        described = predict_photos(loaded, model, directory, chosen, track=_track).coefficients
        if not descriptors:
            described = loaded.layout.split(described).identity
        figures = stranger_figures(
            described,
            [person_of(name) for name in chosen.names],
            seed,
            f"albums of {_photos_of(chosen, directory, people)}",
            threshold=cosine if descriptors else distance,
            by="cosine" if descriptors else "distance",
        )
        if not figures:
            raise ValueError("albums need two people, one of them with two photos")
    _report(figures, json)


@app.command("recognizer")
def recognizer(
    network: Annotated[Path, typer.Argument(help="ONNX recognition network, ArcFace's input.")],
    directory: PhotoFolder,
    points: NeededPointsFile,
    person: PersonOf = None,
    seed: Seed = 0,
    json: JsonFile = None,
) -> None:
    """Fit a recognition network's limit for strangers, and write it beside its file.

    The service reads it there. 2% of false alarms lie below it, over albums of 2 to 20 photos.
    """
    from facewright.training.evaluation.recognizers import (
        evaluate_recognizer,
        load_recognizer_file,
        write_cosine,
    )
    from facewright.training.photos.faces import read_faces
    from facewright.training.photos.people import person_of

    with failing_in_one_line("evaluation"):
        describe = load_recognizer_file(network)
        faces = read_faces(points)
        people = {name: person_of(name, person) for name in faces}
        cosine, figures = evaluate_recognizer(
            describe, directory, faces, people, seed, track=_track
        )
        beside = write_cosine(network, cosine, figures)
    _report(figures, json)
    typer.echo(f"{beside}: stranger_cosine {cosine:g}")


@app.command("sheet")
def sheet(
    networks: Annotated[list[Path], typer.Argument(help="ONNX files or checkpoints, in order.")],
    data: Annotated[Path, typer.Option(help="Directory of shards of either kind.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture, .png or .jpg.")],
    count: Annotated[int, typer.Option(min=1, help="Pictures, evenly spaced.")] = 24,
    columns: Annotated[int, typer.Option(min=1, help="Pictures in a line.")] = 1,
    side: Annotated[int, typer.Option(min=16, help="Of a cell, px.")] = 224,
    face_model: FaceModelFile = None,
) -> None:
    """Draw what networks make of pictures: overlays, and faces alone, beside the true one."""
    import cv2
    import numpy as np

    from facewright.training.data.shards import ShardSet
    from facewright.training.evaluation.network import load_network
    from facewright.training.evaluation.sheets import comparison_sheet

    with failing_in_one_line("evaluation"):
        shards = ShardSet(data)
        rows = np.unique(np.linspace(0, len(shards) - 1, min(count, len(shards))).round())
        picture = comparison_sheet(
            [load_network(network) for network in networks],
            load_face_model(face_model),
            shards,
            rows.astype(np.int64),
            columns=columns,
            side=side,
            track=_track,
        )
        out.parent.mkdir(parents=True, exist_ok=True)
        jpeg = out.suffix.lower() in (".jpg", ".jpeg")
        options = [cv2.IMWRITE_JPEG_QUALITY, 85] if jpeg else []
        try:
            written = cv2.imwrite(str(out), picture[..., ::-1], options)
        except cv2.error as error:
            raise OSError(f"cannot write {out}: {error}") from error
        if not written:
            raise OSError(f"cannot write {out}")


@app.command("scans")
def scans(
    network: NetworkFile,
    folder: Annotated[Path, typer.Argument(help="The benchmark's folder.")],
    layout: Annotated[
        Literal["micc", "now", "facewarehouse"], typer.Option(help="Whose layout the folder has.")
    ],
    points: NeededPointsFile,
    metrical: Annotated[
        bool, typer.Option("--metrical", help="NoW: align without a scale.")
    ] = False,
    subset: Annotated[
        Literal["validation", "test"], typer.Option(help="NoW: whose photos.")
    ] = "validation",
    write_to: Annotated[
        Path | None,
        typer.Option(
            "--write", help="Write predicted meshes and landmarks here, as NoW wants them."
        ),
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="MICC: frames to use of a video.")] = 10,
    landmarks: Annotated[
        Path | None, typer.Option(help="MICC: folder of the points picked on the scans.")
    ] = None,
    mm_per_unit: Annotated[
        float | None, typer.Option(help="Of the scans, if not MICC 1, FaceWarehouse 100.")
    ] = None,
    trim: Annotated[
        float,
        typer.Option(min=0, max=0.5, help="Share of the scan that does not count in aligning."),
    ] = 0.0,
    json: JsonFile = None,
    face_model: FaceModelFile = None,
) -> None:
    """Shape errors against the scans of MICC Florence, NoW or FaceWarehouse."""
    from dataclasses import replace

    from facewright.training.evaluation import benchmark_run as run
    from facewright.training.evaluation.benchmarks import Benchmark, FaceWarehouse, Florence, Now
    from facewright.training.evaluation.network import load_network
    from facewright.training.evaluation.scans import NOW, NOW_METRICAL, PAPER
    from facewright.training.photos.faces import read_faces

    with failing_in_one_line("evaluation"):
        if layout != "now" and (metrical or subset != "validation"):
            raise ValueError("--metrical and --subset belong to NoW")
        if layout != "micc" and landmarks is not None:
            raise ValueError("--landmarks belongs to MICC")
        if layout == "now" and mm_per_unit is not None:
            raise ValueError("NoW's scans are in mm")
        if subset == "test" and write_to is None:
            raise ValueError("the scans of NoW's test subjects are not public: use --write")
        benchmark: Benchmark
        units = {} if mm_per_unit is None else {"mm_per_unit": mm_per_unit}
        if layout == "micc":
            benchmark = Florence(folder, landmarks=landmarks, frames=frames, **units)
        elif layout == "now":
            benchmark = Now(folder, subset=subset)
        else:
            benchmark = FaceWarehouse(folder, **units)
        model = load_face_model(face_model)
        chosen = run.with_points(benchmark, read_faces(points))
        missing = len(benchmark.photos) - len(chosen)
        if missing:
            typer.echo(f"{missing} of {len(benchmark.photos)} photos have no points", err=True)
        identities = run.predict_identities(load_network(network), model, chosen, _track)
        if write_to is not None:
            run.write_predictions(model, chosen, identities, write_to)
        if subset == "test":
            return
        photos = [photo for photo, _ in chosen]
        protocol = (NOW_METRICAL if metrical else NOW) if layout == "now" else PAPER
        protocol = replace(protocol, trim=trim)
        errors = run.compare(benchmark, model, photos, identities, protocol, track=_track)
        measured_on = benchmark.name
        if missing:
            measured_on += f" ({missing} photos without a face left out)"
        if layout == "now":
            figures = run.now_figures(errors, measured_on + (", metrical" if metrical else ""))
        else:
            of = "frames" if benchmark.videos else "photos"
            figures = run.paper_figures(errors, measured_on, of)
        if benchmark.videos:
            photos, identities = run.video_means(photos, identities)
            errors = run.compare(benchmark, model, photos, identities, protocol, track=_track)
            figures += run.paper_figures(errors, measured_on, "mean shapes of videos")
    _report(figures, json)


def _choose(
    labels: Path,
    points: Path | None,
    people: People,
    hold_out: float,
    limit: int | None,
    seed: int,
    rule: PersonRule | None = None,
) -> PhotoLabels:
    """Labels of the photos to measure on."""
    from facewright.training.evaluation.photos import choose_photos
    from facewright.training.photos.labels import read_labels
    from facewright.training.photos.people import rows_of

    known = read_labels(labels, points)
    known = known.take(rows_of(known.names, people, hold_out, rule))
    return known.take(choose_photos(known.names, limit, seed, rule))


def _photos_of(chosen: PhotoLabels, directory: Path, people: People) -> str:
    """What figures were measured on."""
    whose = "" if people == "all" else f", {people} people"
    return f"{len(chosen.names)} photos of {directory.name}{whose}"


def _report(figures: Any, json: Path | None) -> None:
    from facewright.training.evaluation.report import show, write

    show(figures, Console())
    if json is not None:
        write(figures, json)
