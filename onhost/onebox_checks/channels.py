"""Notification channels: e-mail, a webhook, a command; and the ping.

Each returns its error without the webhook's URL or a password, or "".
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

PATIENCE = 15  # seconds per channel
AGENT = {"User-Agent": "onebox-checks"}


@dataclass(frozen=True)
class Message:
    """A notification, as text and as data."""

    subject: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)

    def document(self, host: str) -> bytes:
        """Return the machine-readable output format; chat servers show its `text`."""
        text = f"{self.subject}\n\n{self.text}"
        document = {"schema": 1, "host": host, "app": None, "data": self.data, "text": text}
        return json.dumps(document).encode()


def notify(settings: Configuration, message: Message) -> dict[str, str]:
    """Send a message by every configured channel; return each channel's error, "" for success."""
    body = message.document(settings.host)
    senders: dict[str, Callable[[], str]] = {}
    if settings.email:
        account = settings.email
        senders["email"] = lambda: send_email(account, message)
    if settings.webhook:
        url = settings.webhook
        senders["webhook"] = lambda: post(url, body)
    if settings.command:
        command = settings.command
        senders["command"] = lambda: run(command, body)
    return {name: send() for name, send in senders.items()}


def send_email(account: Email, message: Message) -> str:
    """Send a message by the user's mail server, whose certificate is verified."""
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
    """Send JSON to a webhook; return the error, or ""."""
    headers = {"Content-Type": "application/json", **AGENT}
    return _open(urllib.request.Request(url, body, headers))[0]  # noqa: S310 - http(s), as checked


def ping(url: str) -> tuple[str, str | None]:
    """Request a URL; return the error, and the Date of the response."""
    return _open(urllib.request.Request(url, headers=AGENT))  # noqa: S310 - http(s), as checked


def run(command: str, body: bytes) -> str:
    """Run a command with JSON on its standard input, without the capability to read all files."""
    unprivileged = ["setpriv", "--ambient-caps=-all", "--inh-caps=-all"] if os.geteuid() else []
    try:
        result = subprocess.run(
            [*unprivileged, "/bin/sh", "-c", command], input=body, capture_output=True, check=False,
            timeout=PATIENCE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"took longer than {PATIENCE} s"
    output = (result.stderr or result.stdout).decode(errors="replace").strip()
    return f"exit code {result.returncode}: {output[-500:]}" if result.returncode else ""


def _open(request: urllib.request.Request) -> tuple[str, str | None]:
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - as above
            return "", answer.headers["Date"]
    except urllib.error.HTTPError as error:
        return f"answered {error.code} {error.reason}", None
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {getattr(error, 'reason', error)}", None
