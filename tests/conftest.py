"""Four logical CPU devices for all tests, and seeds that do not depend on the order of the tests."""

import train  # noqa: F401, I001  # before TensorFlow

import keras
import numpy as np
import pytest
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture
def rng():
    """Random numbers of a test's own."""
    return np.random.default_rng(7)


LONG = (
    "acceptance_test.py",
    "resume_test.py",
    "experiments_test.py",
    "search_test.py",
    "replicas_test.py",
    "main_test.py",
    "workers_test.py",
    "step_test.py",
    "own_data_test.py",
    "evaluate_test.py",
    "notebooks_test.py",
)
"""Files that take minutes: they come first, or one process would be at the last of them while the other waits."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
