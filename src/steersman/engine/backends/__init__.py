"""Engines: the local engine, transformers' forward pass, an endpoint, vLLM."""
