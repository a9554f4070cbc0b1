"""What the JSON says of a face, and of the models."""

from __future__ import annotations

import numpy as np

from facewright.models.arrays import FloatArray
from facewright.models.blendshape_names import ARKIT_BLENDSHAPES
from facewright.models.blendshapes import BlendshapeSolver
from facewright.models.camera import CAMERA_DISTANCE, angles_from_matrix
from facewright.models.layout import layout_of
from facewright.service.pipeline.engine import Engine
from facewright.service.pipeline.reconstruction import Reconstruction
from facewright.service.results import schemas


def describe_face(
    face: Reconstruction,
    *,
    confidences: bool,
    blendshapes: BlendshapeSolver | None = None,
    mesh: schemas.MeshFile | None = None,
) -> schemas.Face:
    """Everything that is known of one face, with all of its confidences if asked for.

    blendshapes: what says its expression in ARKit's blendshapes, where the face model can.
    """
    parts = layout_of(face.coefficients).split(face.coefficients[None])
    x0, y0, x1, y1 = (round(float(value), 3) for value in face.face.box)
    angles = angles_from_matrix(face.rotation_matrix[None].astype(np.float64))[0]
    pitch, yaw, roll = np.degrees(angles).tolist()
    return schemas.Face(
        box=schemas.FaceBox(x0=x0, y0=y0, x1=x1, y1=y1),
        score=float(face.face.score),
        crop_transform=face.crop_transform.tolist(),
        intrinsics=face.intrinsics.tolist(),
        pose=schemas.FacePose(
            angles=schemas.Angles(pitch=pitch, yaw=yaw, roll=roll),
            rotation_matrix=face.rotation_matrix.tolist(),
            translation_mm=face.translation_mm.tolist(),
            matrix=_pose_matrix(face),
        ),
        coefficients=schemas.CoefficientGroups(
            identity=rounded(parts.identity),
            expression=rounded(parts.expression),
            albedo=rounded(parts.albedo),
            light=rounded(parts.light),
            rotation=rounded(parts.rotation),
            translation=rounded(parts.translation),
        ),
        confidence=schemas.ConfidenceSummary(
            mean=float(face.confidences.mean()),
            min=float(face.confidences.min()),
            max=float(face.confidences.max()),
        ),
        confidences=rounded(face.confidences) if confidences else None,
        landmarks=np.round(face.landmarks_px.astype(np.float64), 3).tolist(),
        blendshapes=_blendshapes(parts.expression[0], parts.identity[0], blendshapes),
        mesh=mesh,
    )


def _pose_matrix(face: Reconstruction) -> list[list[float]]:
    """4x4: model points in m to the frame of a camera at the origin that looks along -z."""
    matrix = np.eye(4)
    matrix[:3, :3] = face.rotation_matrix
    matrix[:3, 3] = (face.translation_mm - np.array([0, 0, CAMERA_DISTANCE])) / 1000
    return [[float(f"{value:.7g}") for value in row] for row in matrix.tolist()]


def _blendshapes(
    expression: FloatArray, identity: FloatArray, solver: BlendshapeSolver | None
) -> schemas.Blendshapes | None:
    if solver is None:
        return None
    solved = solver.solve(expression, identity)

    def named(weights: FloatArray) -> dict[str, float]:
        rounded = np.round(weights.astype(np.float64), 4).tolist()
        return dict(zip(ARKIT_BLENDSHAPES, rounded, strict=True))

    return schemas.Blendshapes(
        weights=named(solved.weights),
        calibrated=None if solved.calibrated is None else named(solved.calibrated),
        residual_mm=round(solved.residual_mm, 4),
    )


def face_model_reference(engine: Engine) -> schemas.ModelReference:
    """Which face model `engine` uses."""
    about = engine.model.metadata
    return schemas.ModelReference(
        name=about["name"], version=about["version"], sha256=engine.model.sha256
    )


def weights_reference(engine: Engine) -> schemas.ModelReference:
    """Which weights `engine` uses."""
    about = engine.regressor.metadata
    return schemas.ModelReference(
        name=about.get("name", "unnamed"),
        version=about.get("version", ""),
        sha256=engine.weights_sha256,
    )


def describe_models(engine: Engine, service_version: str) -> schemas.ModelsResult:
    """Everything that `engine` has loaded."""
    model, weights = engine.model, engine.regressor.metadata
    return schemas.ModelsResult(
        service_version=service_version,
        face_model=schemas.FaceModelInfo(
            **face_model_reference(engine).model_dump(),
            license=model.metadata["licence"],
            source=model.metadata["source"],
            vertices=model.n_vertices,
            triangles=model.n_triangles,
            landmarks=len(model.landmarks),
            identity_coefficients=model.n_identity,
            expression_coefficients=model.n_expression,
            albedo_coefficients=model.n_albedo,
            expression_units=list(model.expression_units),
        ),
        weights=schemas.WeightsInfo(
            **weights_reference(engine).model_dump(),
            license=weights.get("licence", ""),
            layout=engine.regressor.layout.name,
            confidences=engine.regressor.confides,
            face_model=weights.get("face_model", ""),
            providers=list(engine.providers),
        ),
        detector=schemas.DetectorInfo(name=engine.detector.name, license=engine.detector.license),
    )


def rounded(values: FloatArray) -> list[float]:
    """A flat list with seven digits: what a float32 holds, without the noise behind it."""
    return [float(f"{value:.7g}") for value in values.ravel().tolist()]
