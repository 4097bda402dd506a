"""Threat models: the ball that a perturbation stays in, and the step that a gradient takes in it."""

import tensorflow as tf


def linf_step(gradient: tf.Tensor, size: float) -> tf.Tensor:
    """Steepest ascent in the L∞ norm: every feature moves by `size` or stays where its gradient is 0."""
    return size * tf.sign(gradient)


def linf_project(adversarial: tf.Tensor, clean: tf.Tensor, eps: float) -> tf.Tensor:
    """The nearest point of the L∞ ball of radius `eps` around each clean example and of the box [0, 1]."""
    return tf.clip_by_value(tf.clip_by_value(adversarial, clean - eps, clean + eps), 0.0, 1.0)
