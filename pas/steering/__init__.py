"""Steering vectors: what one is, how it is kept, and applying it."""
