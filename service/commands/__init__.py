"""The verbs of the command line, but for `serve` and `bench`."""
