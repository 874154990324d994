"""Models: which one, its files, its fingerprint, loading it, and the sites inside it."""
