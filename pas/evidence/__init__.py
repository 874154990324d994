"""Is a gain real: comparisons, controls, checks and the verdict."""
