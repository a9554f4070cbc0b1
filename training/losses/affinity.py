"""Identities should be as alike as a face-recognition network finds the people."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def affinity_loss(identity: Tensor, descriptors: Tensor) -> Tensor:
    """Mean squared difference of two likenesses over all pairs of photos.

    Not in the paper: relational distillation (Park et al. 2019, arXiv 1904.05068; Tung and Mori
    2019, arXiv 1907.09682) from the recognizer that the perceptual loss has already.  Equation 4
    asks each rendering to look like its photo; this asks the shapes of a batch to differ as its
    people do.

    The likeness of two identities is the cosine of their coefficients; of independent people of
    the face model it is 0 on average.  That of two descriptors is 1 - d / D, d being their cosine
    distance and D its mean over the batch, whose pairs are mostly of different people: 1 for the
    same picture, 0 on average.  So how close together a recognizer's descriptors lie does not
    matter.

    identity: (N, 80) sigma units.  descriptors: (N, D), no gradient reaches them; neither has
    length 0.  Returns () in [0, inf); 0 for a single photo.
    """
    first, second = torch.triu_indices(len(identity), len(identity), offset=1)
    if not len(first):
        return 0.0 * identity.sum()
    faces, people = normalize(identity), normalize(descriptors.detach())
    distance = 1.0 - (people[first] * people[second]).sum(dim=1)
    typical = distance.mean().clamp_min(torch.finfo(distance.dtype).eps)
    likeness = (faces[first] * faces[second]).sum(dim=1)
    return (likeness - (1.0 - distance / typical)).square().mean()
