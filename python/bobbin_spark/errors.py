"""The errors that this package means for people."""


class BobbinError(Exception):
    """Something the user can set right: the message names what was found and what was expected."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
        """What a program is to end with: 2 if the command or the recipe is wrong, else 1."""


class NoCheckpoint(BobbinError):
    """A run was to go on that has no checkpoint where its ranks are."""
