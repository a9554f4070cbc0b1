"""The HTTP service and command line of facewright; imports `models`, never torch or `training`."""

import os

# Set before NumPy is loaded.  Photos are worked on side by side already, and the networks have
# threads of their own: more would only take the processors from each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
