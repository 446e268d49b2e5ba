"""Options that several stages have in common, for when there is no workspace."""

from __future__ import annotations

from steersman.rounds.inputs import Option

MODEL = Option("--model", "Without a workspace: the model to start from.", "text", needed=True)
DATA = Option("--data", "Without a workspace: a file; may be repeated.", needed=True)
REWARD = Option("--reward", "Without a workspace: folder of the reward model.", "text", needed=True)
HELD_OUT = Option("--held-out", "Without a workspace: prompts that choose the checkpoint.", needed=True)
FEEDBACK = Option("--feedback", "Without a workspace: answers that were liked or not: exports, or public forms.")
