"""Sampling of skin, lip, eye and facial-hair colours on any mesh of a face or a head."""
