"""Training of R-Net on portraits whose coefficients are known."""
