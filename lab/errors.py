"""The error that the command line prints."""


class LabError(Exception):
    """What failed, why, and the fix, in one paragraph."""
