"""Configurations of other trainers (TRL, LLaMA-Factory) -> settings of ours, and what became of each of their lines."""
