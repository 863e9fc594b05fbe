"""From an archive to a release's code and packages. All input is untrusted."""
