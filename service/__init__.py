"""The HTTP service and command line of facewright; imports `models`, never torch or `training`."""

__version__ = "0.1.0"
