"""Differences between model families, and the outputs that each computes from packed rows."""
