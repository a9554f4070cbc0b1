"""Exported networks: written, described, read back as networks, and run layer by layer in torch."""
