"""Whether a server can take a deploy: facts.py observes it, rules.py judges the observation."""

import operations  # noqa: F401 - puts onhost/ on the path
