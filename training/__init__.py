"""Building the face model, making portraits, training, evaluating and exporting R-Net."""
