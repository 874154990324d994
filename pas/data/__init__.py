"""Labelled items: reading, checking, splitting and rendering them."""
