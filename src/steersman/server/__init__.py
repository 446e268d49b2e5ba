"""The HTTP server: chat page, ranking page, and an API that OpenAI's clients understand."""
