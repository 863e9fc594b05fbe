"""The commands of fabfile.py that do more than call onebox-release on the server."""

import operations  # noqa: F401 - puts onhost/ on the path
