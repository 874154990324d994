"""Labelled items: where they come from, how they are checked, split and rendered."""
