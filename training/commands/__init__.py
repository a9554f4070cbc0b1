"""The verbs of `facewright-train`: options, messages, exit codes. The work is done elsewhere."""
