"""Monitoring: check this server and notify its administrators; see docs/checks.md.

A timer runs it as a user of its own that may read everything and write nothing, on the standard
library of Python 3.11 and later alone.
"""
