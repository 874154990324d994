"""Steering vectors: saving, loading and applying them."""
