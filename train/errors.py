"""What ends a command without a traceback."""


class UsageError(Exception):
    """A mistake that the user can mend; its text is the one line that they see."""


class NonFiniteError(UsageError):
    """Training gave a number that is not finite."""
