"""What stands on the server: one concern a file, one public @deploy in each."""
