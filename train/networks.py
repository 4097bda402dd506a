"""Networks in `.keras` files, from this project or from elsewhere."""

from pathlib import Path

import keras


def load_network(file: Path) -> keras.Model:
    """The network in a file, without its optimizer.

    Raises:
        ValueError: it is damaged, or holds a Python function, which is not run: that is Keras' safe mode.
    """
    try:
        return keras.models.load_model(file, compile=False)
    except ValueError as error:
        if "safe_mode" not in str(error):
            raise
        what = "a Python function (of a Lambda layer, say), which could do anything and is not run"
        raise ValueError(f"it holds {what}") from None
