"""The model card: written from the machine-readable record that the export leaves.

The record (`rnet_v4.json`) and the card hold the same facts; the card is for people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from facewright.training.experiment_files import Settings, problems_of


class Figure(Settings):
    """One measured number beside its baseline."""

    measured_on: str
    measure: str
    unit: str
    value: int | float
    baseline: int | float | None


class Figures(Settings):
    """What the export cannot know by itself and is told in a JSON file.

    Attributes:
        data: what the networks were trained on, prose.
        procedure: how, prose.
        baseline: what the baseline of the figures is, such as "mean face".
        figures: measurements of the checkpoint.
        commands: the commands that made the figures.
        limits: known limits and biases, one sentence or two each.
    """

    data: str
    procedure: str
    baseline: str
    figures: list[Figure]
    commands: list[str]
    limits: list[str]


def read_figures(path: str | Path) -> dict[str, Any]:
    """Read a figures file, the plain values of `Figures`.

    Raises:
        ValueError: it is not of that form; the message says which entry is wrong.
        FileNotFoundError: no such file.
    """
    text = Path(path).read_bytes()
    try:
        Figures.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise ValueError(f"{path}: {problems_of(error)}") from error
    content: dict[str, Any] = json.loads(text)
    return content


def render_model_card(record: Mapping[str, Any]) -> str:
    """Markdown of a record as :func:`training.onnx.export.export_checkpoint` writes it."""
    network, training, check = record["network"], record["training"], record["export_check"]
    face_model = record["face_model"]
    story: Mapping[str, Any] = record["figures"]
    trained_cnet = training["cnet_trained"]
    confidences = (
        "C-Net's confidences of the identity coefficients, in (0, 1)"
        if trained_cnet
        else "1 for every identity coefficient: there is no C-Net, so an album is averaged plainly"
    )
    layout = network["layout"]
    sections = [
        f"# Model card: {record['name']} {record['version']}",
        f"R-Net and C-Net of facewright in one ONNX graph, `{record['file']}`. From an aligned"
        f" photo of a face they regress the {layout} coefficients of a 3D morphable model"
        " (identity, expression, albedo, light, rotation, translation), as in Deng et al. 2019,"
        " *Accurate 3D Face Reconstruction with Weakly-Supervised Learning: From Single Image to"
        " Image Set* (arXiv 1903.08527).",
        _table(
            ("", ""),
            [
                ("Input `crops`", "(N, 3, 224, 224) float32, RGB in [0, 1]"),
                ("Output `coefficients`", f"(N, {layout}) float32"),
                ("Output `confidences`", f"(N, 80) float32: {confidences}"),
                *_branch_outputs(network),
                ("R-Net", f'ResNet-50, stride layout "{network["variant"]}"'),
                ("Parameters", f"{network['parameters'] / 1e6:.1f} million"),
                (
                    "File",
                    f"{record['size_bytes'] / 1e6:.1f} MB; weights stored in"
                    f" {network['stored_in']}, all arithmetic in float32",
                ),
                (
                    "Face model",
                    f"{face_model['name']} {face_model['version']} ({face_model['license']})",
                ),
            ],
        ),
        "The coefficients mean something only together with the face model named here, whose"
        " checksum the file carries.",
        "## Training data",
        story["data"],
        "## Procedure",
        story["procedure"],
        f"The last run: {training['steps']:,} steps over {training['images']:,} image passes.",
        "## Figures",
        _figures_table(story),
        *_commands(story["commands"]),
        "## Fidelity of the file",
        f"Checked by the export with {check['crops']}: the graph differs from the trained network"
        f" by at most {check['graph_difference']:.1e} in any output, and storing its weights in"
        f" {network['stored_in']} moves vertices by {check['vertex_drift_mm']:.4f} mm on average"
        f" ({check['largest_drift_mm']:.3f} mm at most) and a coefficient by at most"
        f" {check['stored_difference']:.1e}.",
        "## Limits and biases",
        "\n".join(f"- {limit}" for limit in story["limits"]),
        "## License",
        f"{record['license']}.",
        "## Checksums (SHA-256)",
        _table(
            ("file", "checksum"),
            [
                (f"`{record['file']}`", f"`{record['sha256']}`"),
                (f"`{face_model['file']}`", f"`{face_model['sha256']}`"),
            ],
        ),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _branch_outputs(network: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not network["identity_branch"]:
        return []
    return [
        (
            "Output `descriptors`",
            "(N, 128) float32 of unit length: their cosines tell people apart. The identity is"
            " R-Net's joined with one from the same recognition features",
        )
    ]


def _figures_table(story: Mapping[str, Any]) -> str:
    def number(value: float | None, unit: str) -> str:
        if value is None:
            return "–"
        return f"{value:.4g} {unit}".strip()

    return _table(
        ("measured on", "measure", "this network", story["baseline"]),
        [
            (
                figure["measured_on"],
                figure["measure"],
                number(figure["value"], figure["unit"]),
                number(figure["baseline"], figure["unit"]),
            )
            for figure in story["figures"]
        ],
    )


def _commands(commands: Sequence[str]) -> list[str]:
    if not commands:
        return []
    return ["Made by", "```\n" + "\n".join(commands) + "\n```"]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )
