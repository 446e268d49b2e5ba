"""Steersman: build your own ChatGPT and keep steering it by what people tell it."""

__version__ = "0.1.0"
