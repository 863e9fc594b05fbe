"""What a deploy installs: one concern per file, one public @deploy in each."""
