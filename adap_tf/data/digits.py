"""scikit-learn's handwritten digits: 1,797 images of 8×8, ten classes. They come with the package."""

from sklearn.datasets import load_digits

from adap_tf.data.sources import Parts, Source


def load() -> Parts:
    """All digits; images `[1797, 8, 8, 1]` float32, grey levels 0…16 divided by 16."""
    found = load_digits()
    image = (found.images / 16).astype("float32")[..., None]
    return {"train": Source.of_classes(image, found.target, tuple(str(digit) for digit in range(10)))}
