"""Receivers of notifications: a mail server with TLS and login, and a web server, both real."""

from __future__ import annotations

import email
import email.utils
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from lab import network
from lab.layout import this_lab
from tests.lab_server import Server

USER, PASSWORD = "onebox", 'a password with $ and "quotes"'


@dataclass
class Receivers:
    """Notifications received since the last `clear`."""

    address: str
    smtp_port: int = 0
    http_port: int = 0
    mails: list[Message] = field(default_factory=list)
    posts: list[dict[str, Any]] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)
    ahead: float = 0
    """Seconds by which the web server's clock is ahead of this machine's."""
    broken: bool = False
    """Whether the web server answers 503."""
    authority: str = ""

    @property
    def url(self) -> str:
        """Return the web server's address."""
        return f"http://{self.address}:{self.http_port}"

    def settings(self) -> dict[str, Any]:
        """Return the `notify` setting; the test's environment has the password."""
        return {
            "email": {
                "to": ["you@example.com"],
                "sender": "server@example.com",
                "server": self.address,
                "port": self.smtp_port,
                "user": USER,
                "password": "SMTP_PASSWORD",
            },
            "webhook": f"{self.url}/hook",
            "hourly": 1000,
        }

    def trusted_by(self, server: Server) -> None:
        """Make a server trust the mail server's certificate."""
        path = "/usr/local/share/ca-certificates/receivers.crt"
        server.run(f"cat > {path} && update-ca-certificates", given=self.authority)

    def clear(self) -> None:
        """Clear what was received."""
        self.mails.clear()
        self.posts.clear()
        self.pings.clear()

    def events(self, part: str, check: str) -> list[dict[str, str]]:
        """Return the problems of a check that were "raised" or "resolved"."""
        return [p for post in self.posts for p in post["data"].get(part, []) if p["check"] == check]

    def first(self, part: str, check: str) -> dict[str, str]:
        """Return the first problem of a check that was "raised" or "resolved"."""
        return self.events(part, check)[0]

    def wait(self, condition: Callable[[], object], seconds: float) -> float:
        """Wait until `condition` holds; return the seconds waited."""
        start = time.monotonic()
        while not condition():
            passed = time.monotonic() - start
            assert passed < seconds, f"not received in {seconds} s; but: {self.posts}"
            time.sleep(0.1)
        return time.monotonic() - start


def text_of(mail: Message) -> str:
    """Return a message's text."""
    content = mail.get_payload(decode=True)
    return content.decode() if isinstance(content, bytes) else ""


@contextmanager
def receivers(folder: Path) -> Iterator[Receivers]:
    """Run both servers at an address that lab hosts reach."""
    inbox = Receivers(network.subnet(this_lab()).address(network.GATEWAY))
    authority = trustme.CA()
    inbox.authority = authority.cert_pem.bytes().decode()
    certificate = folder / "smtp.pem"
    authority.issue_cert(inbox.address).private_key_and_cert_chain_pem.write_to_path(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    mail = Controller(
        _Mailbox(inbox), hostname=inbox.address, port=_free(inbox.address), tls_context=context,
        require_starttls=True, auth_required=True, authenticator=_login,
    )  # fmt: skip
    inbox.smtp_port = mail.port
    web = ThreadingHTTPServer((inbox.address, 0), _handler(inbox))
    inbox.http_port = web.server_port
    mail.start()
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        yield inbox
    finally:
        web.shutdown()
        web.server_close()
        mail.stop()


class _Mailbox:
    def __init__(self, inbox: Receivers) -> None:
        self.inbox = inbox

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        self.inbox.mails.append(email.message_from_bytes(content))
        return "250 OK"


def _login(_: SMTP, __: Session, ___: Envelope, ____: str, data: object) -> AuthResult:
    good = data == LoginPassword(USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=False)


def _handler(inbox: Receivers) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            inbox.pings.append(time.time())
            self._answer()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not inbox.broken:
                inbox.posts.append(json.loads(body))
            self._answer()

        def _answer(self) -> None:
            self.send_response(503 if inbox.broken else 200)
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return email.utils.formatdate((timestamp or time.time()) + inbox.ahead, usegmt=True)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _free(address: str) -> int:
    with ThreadingHTTPServer((address, 0), BaseHTTPRequestHandler) as probe:
        return probe.server_port
