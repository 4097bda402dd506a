"""What is measured in performance, each a command: `python -m benchmarks.NAME --help`."""

import train  # noqa: F401  # before TensorFlow
