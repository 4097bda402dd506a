"""The application: commands that train, evaluate and report.

Importing it sets what TensorFlow reads from the environment when it is loaded, unless the user has: no log lines but
the few that nothing turns off, and oneDNN's kernels, which TensorFlow leaves off on some CPUs, where they make
ResNet-18 five times as fast.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
