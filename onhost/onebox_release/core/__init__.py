"""Releases: started, switched to, watched, rolled back, removed."""
