"""Photographs of real people: who is on them, their crops, landmarks, skin, and shards of them."""
