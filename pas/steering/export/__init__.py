"""Steering vectors as files that other programs read, and theirs as vectors of ours."""
