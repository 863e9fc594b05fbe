"""The one error a person sees."""


class LabError(Exception):
    """What went wrong, why, and how to mend it, in one paragraph."""
