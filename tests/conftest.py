"""Fixtures that several kinds of tests share."""

pytest_plugins = ["tests.lab_hosts"]
