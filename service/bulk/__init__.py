"""Millions of photos: reconstruction on Ray Data, into a table that any interruption leaves whole."""
