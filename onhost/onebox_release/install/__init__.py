"""From an archive to a release's code and packages. All that comes in is hostile."""
