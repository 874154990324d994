"""The server: an OpenAI-compatible interface to one model and the vectors that steer it."""
