"""Build, switch and store the releases of an app on its server.

Runs as root on the server, on the standard library of Python 3.11 and later alone.
"""
