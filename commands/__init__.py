"""The commands of fabfile.py that do more than call onebox-release on the server."""
