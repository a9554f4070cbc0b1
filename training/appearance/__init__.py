"""Sampling of skin, lip, eye and facial-hair colors on any mesh of a face or a head."""
