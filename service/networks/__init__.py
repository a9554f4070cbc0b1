"""The networks as the pipeline sees them: detectors, recognizer, regressor."""
