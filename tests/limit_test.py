"""Operations and passes are those counted by hand; how long they take is not asserted."""

import keras
import pytest
from keras import layers

from adap_tf import APGD, FGSM, PGD, Square, Threat
from adap_tf.backbones import application, mlp, resnet18, small_cnn
from adap_tf.methods import METHODS
from benchmarks import limit

# Operations of a pass


def test_of_a_small_network_layer_by_layer():
    taps = {4: (10, 1), 2: (5, 2), 1: (2, 3)}  # of 3 taps at each place along an axis: 1 falls outside at each border
    convolutions = [10**2 * 3 * 16, 5**2 * 16 * 32, 2**2 * 32 * 64, 1 * 64 * 128]
    assert sum(taps[4]) == 11
    assert limit.forward_operations(small_cnn((4, 4, 3))) == 2 * (sum(convolutions) + 128)
