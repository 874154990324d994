"""Generation for many requests at once: a running batch that requests join and leave."""
