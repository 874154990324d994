"""Models: description, files, fingerprint, loading, and the sites of their blocks."""
