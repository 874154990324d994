"""Supervised fine-tuning, to compare steering with."""
