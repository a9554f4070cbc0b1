"""Stored training data: shards of portraits with their known coefficients."""
