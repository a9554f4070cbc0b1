"""The way of a photo, and of an album, from bytes to meshes and pictures; no HTTP."""
