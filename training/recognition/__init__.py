"""Frozen face-recognition networks for the perceptual loss (eq. 4 of Deng et al. 2019)."""
