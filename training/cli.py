"""`facewright-train`: everything that makes the shipped files, one command each."""

from __future__ import annotations

import typer

from facewright.training.commands.cnet import train_cnet
from facewright.training.commands.evaluate import app as evaluate
from facewright.training.commands.evaluate import calibrate_blendshapes
from facewright.training.commands.export import export
from facewright.training.commands.identity_branch import fit_branch
from facewright.training.commands.import_weights import import_weights
from facewright.training.commands.photos import fit_label_convention, measure_shift, prepare_photos
from facewright.training.commands.rebase import rebase_checkpoint
from facewright.training.commands.rnet import train_rnet
from facewright.training.commands.segmentation import app as segmentation
from facewright.training.commands.synth import make_portraits
from facewright.training.face_model.command import build_face_model
from facewright.training.face_model.scan_command import measure_floors, register_scan_statistics

app = typer.Typer(
    name="facewright-train",
    help="Build the face model, make portraits, train, evaluate and export R-Net and C-Net.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("face-model")(build_face_model)
app.command("register-scans")(register_scan_statistics)
app.command("floors")(measure_floors)
app.command("synth")(make_portraits)
app.command("prepare")(prepare_photos)
app.command("landmark-shift")(measure_shift)
app.command("landmark-convention")(fit_label_convention)
app.command("rnet")(train_rnet)
app.command("identity-branch")(fit_branch)
app.command("cnet")(train_cnet)
app.command("export")(export)
app.command("import")(import_weights)
app.command("rebase")(rebase_checkpoint)
app.command("calibrate-blendshapes")(calibrate_blendshapes)
app.add_typer(segmentation, name="segmentation")
app.add_typer(evaluate, name="evaluate")
