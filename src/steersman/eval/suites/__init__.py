"""Suites: what a model is asked besides the user's own prompts, and how its answers are scored by code."""
