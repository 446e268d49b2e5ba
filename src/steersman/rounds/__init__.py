"""Rounds: the stages, making them in order, finding stale artifacts, exports, the gate, searches and jobs.

The command line and the server stand above this; training and evaluation below, imported when a stage is computed, so
that neither `--help` nor the server ever loads torch.
"""
