"""Looks at a deployed server, a file for each task, and changes nothing there."""
