"""What a data source gives: examples with a class each, from which one class against the rest makes a task."""

from dataclasses import dataclass

import numpy as np

from adap_tf.data.examples import Examples


@dataclass(frozen=True)
class Source:
    """A labelled data set.

    Attributes:
        image: `[n, ...]`, float in [0, 1] or uint8.
        target: `[n]`, the number of each example's class.
        classes: the names of the classes.
    """

    image: np.ndarray
    target: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.target)

    def take(self, indices: np.ndarray) -> "Source":
        """The examples at those places."""
        return Source(self.image[indices], self.target[indices], self.classes)

    def one_vs_rest(self, *positives: str) -> Examples:
        """The tasks of finding one class each.

        Raises:
            ValueError: there is no such class; the message lists the names.
        """
        if unknown := [name for name in positives if name not in self.classes]:
            raise ValueError(f"unknown class {unknown[0]!r}; classes: {', '.join(self.classes)}")
        return Examples(self.image, self.target[:, None] == [self.classes.index(name) for name in positives])
