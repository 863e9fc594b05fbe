"""Programs that the deployer sends over its own SSH connection, and runs on a bare server too."""
