"""Files of meshes and pictures; nothing here knows a request."""
