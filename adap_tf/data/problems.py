"""What is wrong with data: an error that says what to do, or a note of what was left out."""


class DataError(ValueError):
    """Data that cannot be used; the message names the file and says what to do."""


class Problems:
    """What to do with examples that cannot be used: stop at the first, or leave them out and count them.

    Attributes:
        skip: whether to leave them out.
        found: what was wrong with each that was left out.
    """

    def __init__(self, skip: bool = False):
        self.skip = skip
        self.found: list[str] = []

    def note(self, problem: str) -> None:
        """An example is not usable, for the reason given.

        Raises:
            DataError: examples are not to be left out.
        """
        if not self.skip:
            raise DataError(f"{problem}; mend it, or leave such examples out with --skip-bad-examples")
        self.found.append(problem)
