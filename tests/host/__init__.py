"""Read-only checks of a deployed server, one file per task."""
