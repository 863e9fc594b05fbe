"""What a deploy installs: one concern per file, one public @deploy in each."""

import operations  # noqa: F401 - puts onhost/ on the path
