"""Evidence for or against a gain: comparisons, controls, checks and the verdict."""
