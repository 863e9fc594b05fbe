"""What an administrator, a deploy and a deploy key type: commands and what they print."""
