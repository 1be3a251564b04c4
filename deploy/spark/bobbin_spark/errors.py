"""The one kind of error that this package means for people."""


class BobbinError(Exception):
    """Something the user can set right: the message names what was found and what was expected."""
