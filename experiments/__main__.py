"""`python -m experiments --help`."""

import sys

import train  # noqa: F401  # before TensorFlow
from experiments.command import main

if __name__ == "__main__":
    sys.exit(main())
