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
