"""The one kind of failure that a person can do something about."""


class LocalError(Exception):
    """Something is wrong with the stack file or this machine; the message is one line: what, where, and the fix."""
