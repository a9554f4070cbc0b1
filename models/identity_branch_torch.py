"""A second look at the person: identity coefficients from a face-recognition network.

Beyond the paper. R-Net regresses the identity as it regresses light and pose; a network that was
trained to tell people apart sees the same crop through features that keep what makes a person and
drop the rest. The identity of the answer is linear in these features and in everything that R-Net
says: what it errs by with pose and expression is corrected on the way. The recognition network's
chip is cut out of the crop by the landmarks that R-Net's own coefficients give.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from facewright.models.camera_torch import CROP_SIZE, pose_points, project
from facewright.models.chips_torch import DLIB_LANDMARKS, cut_chips, dlib_reference, fit_similarity
from facewright.models.layout import LAYOUT_239, CoefficientLayout
from facewright.models.morphable_model import MorphableModel
from facewright.models.recognition_torch import CHIP_SIZE, TRUNK_FEATURES, FaceResNet

SHAPE_COEFFICIENTS = 144
"""Identity and expression, which every layout has in front."""
N_IDENTITY = 80


class IdentityBranch(nn.Module):
    """Identity from recognition features and R-Net's coefficients.

    Starts without a say: the identity is R-Net's.

    Args:
        size: of R-Net's coefficients.
        chip_size: side of the chips, px, 103 or more. dlib's own trunk knows people by 150 px, and
            much less by smaller ones; one that was trained for them is cheaper.
    """

    point_mean: Tensor
    """(33, 3) mm: the face model's mean at the landmarks that dlib aligns by."""
    point_basis: Tensor
    """(144, 33, 3) mm per sigma, of identity and expression."""

    chip: Tensor
    """() int64, the chip's side in px: part of the state, for the trunk belongs to it."""

    def __init__(self, size: int = LAYOUT_239.size, chip_size: int = CHIP_SIZE) -> None:
        super().__init__()
        self.register_buffer("chip", torch.tensor(chip_size))
        self.trunk = FaceResNet()
        points = len(DLIB_LANDMARKS)
        self.register_buffer("point_mean", torch.zeros(points, 3))
        self.register_buffer("point_basis", torch.zeros(SHAPE_COEFFICIENTS, points, 3))
        self.head = nn.Linear(TRUNK_FEATURES + size, N_IDENTITY)
        with torch.no_grad():
            nn.init.zeros_(self.head.bias)
            self.head.weight.copy_(
                torch.eye(N_IDENTITY, TRUNK_FEATURES + size).roll(TRUNK_FEATURES, 1)
            )

    @property
    def chip_size(self) -> int:
        """Side of the chips, px."""
        return int(self.chip)

    def set_face_model(self, model: MorphableModel) -> None:
        """Take over a face model's landmarks."""
        rows = model.landmarks[list(DLIB_LANDMARKS)]
        basis = [model.refine(b)[:, rows] for b in (model.identity_basis, model.expression_basis)]
        self.point_mean.copy_(torch.tensor(model.mean_vertices[rows]))
        self.point_basis.copy_(torch.cat([torch.tensor(part) for part in basis]))

    def set_trunk(self, trunk: FaceResNet) -> None:
        """Take over a recognition network's weights."""
        self.trunk.load_state_dict(trunk.state_dict())

    def chips(self, crops_nchw: Tensor, coefficients: Tensor, layout: CoefficientLayout) -> Tensor:
        """Square chips (N, 3, …), differentiable with respect to the crops alone.

        Args:
            crops_nchw: (N, 3, S, S), of any size S.
            coefficients: (N, layout.size), R-Net's.
            layout: of the coefficients.
        """
        known = coefficients.detach().float()
        parts = layout.split(known)
        flat = self.point_basis.flatten(1)
        shape = torch.addmm(self.point_mean.flatten(), known[:, :SHAPE_COEFFICIENTS], flat)
        points = project(
            pose_points(shape.view(-1, *self.point_mean.shape), parts.rotation, parts.translation)
        )
        points = points * (crops_nchw.shape[-1] / CROP_SIZE)
        reference = dlib_reference(self.chip_size).to(points)
        chip_to_crop = fit_similarity(reference.expand_as(points), points)
        return cut_chips(crops_nchw, chip_to_crop, self.chip_size)

    def identity(self, features: Tensor, coefficients: Tensor) -> Tensor:
        """The identity (N, 80) of the trunk's features (N, 256) and R-Net's coefficients."""
        identity: Tensor = self.head(torch.cat([features, coefficients], dim=1))
        return identity

    def describe(self, features: Tensor) -> Tensor:
        """Descriptors (N, 128) of unit length of the trunk's features (N, 256)."""
        return functional.normalize(self.trunk.head(features), dim=1)

    def forward(
        self, crops_nchw: Tensor, coefficients: Tensor, layout: CoefficientLayout
    ) -> tuple[Tensor, Tensor]:
        """The coefficients with the branch's identity, and descriptors (N, 128) of unit length.

        Args:
            crops_nchw: (N, 3, S, S) float, RGB in [0, 1]; the larger, the more the chips show.
            coefficients: (N, layout.size), R-Net's.
            layout: of the coefficients.
        """
        # Chips by landmarks and cosines of descriptors need more digits than bfloat16 has.
        with torch.autocast(crops_nchw.device.type, enabled=False):
            chips = self.chips(crops_nchw.float(), coefficients, layout)
            features = self.trunk.features(chips)
            identity = self.identity(features, coefficients.float())
            rest = coefficients[:, layout.identity.stop :]
            return torch.cat([identity, rest], dim=1), self.describe(features)
