"""The inventory's settings: an inventory needs only `from settings import servers`.

server.py has a server's settings, app.py an app's; the other modules validate them.
"""

from settings.app import App, Process, Timer, Web
from settings.server import TLS, VM, PostgreSQL, servers

__all__ = ["TLS", "VM", "App", "PostgreSQL", "Process", "Timer", "Web", "servers"]
