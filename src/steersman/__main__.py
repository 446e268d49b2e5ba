"""`python -m steersman`, for torchrun."""

from steersman.cli import main

main()
