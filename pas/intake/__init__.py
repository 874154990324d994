"""From a file that somebody has to checked items: reading, recognising and mapping."""
