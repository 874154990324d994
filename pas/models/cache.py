"""The cache folder shared by all uses on a machine. Importing this module loads no torch."""

from pathlib import Path


def default_cache_dir() -> Path:
    """Return the user's cache folder for converted models and file hashes."""
    from platformdirs import user_cache_path

    return user_cache_path("pas")
