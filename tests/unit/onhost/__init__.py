"""The programs that run on the server, tested without one."""
