"""The estimators and the sweep: contrast sets, the grid and the selection."""
