"""The inventory's settings: `from settings import servers` is all that an inventory needs.

A server's are in server.py, an app's in app.py; the rest checks their values.
"""

from settings.app import App, Process, Timer, Web
from settings.server import REFUSED, TLS, VM, PostgreSQL, servers

__all__ = ["REFUSED", "TLS", "VM", "App", "PostgreSQL", "Process", "Timer", "Web", "servers"]
