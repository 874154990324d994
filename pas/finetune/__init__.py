"""Supervised fine-tuning, for comparison with steering."""
