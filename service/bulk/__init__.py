"""Millions of photos: reconstruction on Ray Data, into a table that no interruption breaks."""
