"""`facewright bench`: the real server under load, held against its networks alone."""
