"""The estimators and the sweep: contrast sets, the grid, the choice in it."""
