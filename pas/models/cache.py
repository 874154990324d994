"""The folder that every use of the method on a machine shares; importing it loads no torch."""

from pathlib import Path


def default_cache_dir() -> Path:
    """Return the user's cache folder for converted models and file hashes."""
    from platformdirs import user_cache_path

    return user_cache_path("pas")
