"""The registry: runs and versioned steering vectors in MLflow."""
