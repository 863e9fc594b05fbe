"""The server looks at itself, and tells somebody what it found: see docs/checks.md.

Runs by a timer as a user of its own that may read everything and write nothing, on the standard
library of Python 3.11 and later alone.
"""
