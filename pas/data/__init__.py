"""Labelled items: splitting them, and the texts that the model reads."""
