"""Searches for a method's hyperparameters with KerasTuner."""
