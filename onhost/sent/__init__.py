"""Programs that the deployer pipes over its SSH connection, also to a bare server."""
