"""The engine: prompts and configurations run with everything that they share computed once."""
