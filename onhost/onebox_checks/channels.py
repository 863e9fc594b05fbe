"""The ways to tell somebody: e-mail, a webhook, a command; and the ping.

Each returns what went wrong in words that hold no address of a webhook and no password, or nothing.
"""

from __future__ import annotations

import email.message
import email.utils
import http.client
import json
import os
import smtplib
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from onebox_checks.configuration import Configuration, Email

PATIENCE = 15  # seconds for each
AGENT = {"User-Agent": "onebox-watch"}


@dataclass(frozen=True)
class Message:
    """What is told: for a person, and for a program."""

    subject: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)

    def document(self, host: str) -> bytes:
        """Return the one shape of machine-readable output; chat servers show its `text`."""
        notified = f"{self.subject}\n\n{self.text}"
        document = {"schema": 1, "host": host, "app": None, "data": self.data, "text": notified}
        return json.dumps(document).encode()


def notify(settings: Configuration, message: Message) -> dict[str, str]:
    """Tell it in every way that is set; return what came of each: nothing is good."""
    body = message.document(settings.host)
    ways: dict[str, Callable[[], str]] = {}
    if settings.email:
        account = settings.email
        ways["email"] = lambda: send_email(account, message)
    if settings.webhook:
        url = settings.webhook
        ways["webhook"] = lambda: post(url, body)
    if settings.command:
        command = settings.command
        ways["command"] = lambda: run(command, body)
    return {name: way() for name, way in ways.items()}


def send_email(account: Email, message: Message) -> str:
    """Hand a message to the user's mail server, which must be who it says it is."""
    mail = email.message.EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = (
        account.sender,
        ", ".join(account.to),
        (message.subject),
    )
    mail["Date"] = email.utils.localtime()
    mail["Message-ID"] = email.utils.make_msgid(domain=account.sender.rpartition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    trust = ssl.create_default_context()
    try:
        with (
            smtplib.SMTP_SSL(account.server, account.port, timeout=PATIENCE, context=trust)
            if account.security == "tls"
            else smtplib.SMTP(account.server, account.port, timeout=PATIENCE)
        ) as server:
            if account.security == "starttls":
                server.starttls(context=trust)
            if account.user:
                server.login(account.user, account.password or "")
            server.send_message(mail)
    except (OSError, smtplib.SMTPException) as error:
        return f"{account.server} port {account.port}: {type(error).__name__}: {error}"
    return ""


def post(url: str, body: bytes) -> str:
    """Send JSON to a webhook."""
    headers = {"Content-Type": "application/json", **AGENT}
    return _open(urllib.request.Request(url, body, headers))[0]  # noqa: S310 - http(s), as checked


def ping(url: str) -> tuple[str, str | None]:
    """Ask for an address; return what went wrong, and the Date of the answer."""
    return _open(urllib.request.Request(url, headers=AGENT))  # noqa: S310 - http(s), as checked


def run(command: str, body: bytes) -> str:
    """Run a command with JSON on its standard input, without the right to read everything."""
    away = ["setpriv", "--ambient-caps=-all", "--inh-caps=-all"] if os.geteuid() else []
    try:
        result = subprocess.run(
            [*away, "/bin/sh", "-c", command], input=body, capture_output=True, check=False,
            timeout=PATIENCE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"took longer than {PATIENCE} s"
    said = (result.stderr or result.stdout).decode(errors="replace").strip()
    return f"exit code {result.returncode}: {said[-500:]}" if result.returncode else ""


def _open(request: urllib.request.Request) -> tuple[str, str | None]:
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - as above
            return "", answer.headers["Date"]
    except urllib.error.HTTPError as error:
        return f"answered {error.code} {error.reason}", None
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {getattr(error, 'reason', error)}", None
