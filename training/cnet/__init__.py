"""Training of C-Net on sets of photos of one person, with R-Net frozen."""
