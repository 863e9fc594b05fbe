"""nginx's configuration: one tree for the whole server."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation

from operations import tree
from operations.certbot import LIVE, WEBROOT, Lineage, Lineages
from operations.machine import Machine
from operations.published import Published
from operations.templates import render, target
from settings import VM
from settings.app import App, Static

FOLDER = "/etc/onebox/nginx"
MAINTENANCE = ".onebox/maintenance.html"
SITE = "etc/onebox/nginx/sites/NAME.conf"
# Headers by which proxies name the client, its user or the app's URL. Frameworks trust some of
# them, and no proxy before nginx could have set them.
UNTRUSTED_HEADERS = (
    "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded-Scheme", "X-Forwarded-Ssl",
    "X-Forwarded-User", "X-Remote-User", "Remote-User", "X-Client-IP", "X-Cluster-Client-IP",
    "True-Client-IP", "CF-Connecting-IP", "X-Original-URL", "X-Rewrite-URL", "X-Script-Name",
    "X-SSL-Client-Verify", "X-Scheme", "Front-End-Https",
)  # fmt: skip
# MiB of request bodies that nginx may keep in files for an app: of one client, and of all.
CLIENT_BODIES, ALL_BODIES = 320, 2048


@dataclass(frozen=True)
class Uploads:
    """Maximum of concurrent requests whose bodies nginx keeps in files."""

    client: int
    all: int
    too_long: str
    """Regular expression that matches a Content-Length above the limit."""

    @classmethod
    def of(cls, max_body: int) -> Uploads:
        """Return the maximum for bodies of `max_body` MiB; a few are allowed at any size."""
        return cls(
            client=max(4, min(32, CLIENT_BODIES // max_body)),
            all=max(16, min(256, ALL_BODIES // max_body)),
            too_long=above(max_body * 1024 * 1024),
        )


def above(number: int) -> str:
    """Return a regular expression for decimal numbers above this one: nginx can't compare."""
    digits = str(number)
    rest = range(len(digits) - 1, -1, -1)
    forms = [
        f"{digits[: -left - 1]}[{int(digit) + 1}-9][0-9]{{{left}}}"
        for digit, left in zip(digits, rest, strict=True)
        if digit != "9"
    ]
    forms.append(f"[1-9][0-9]{{{len(digits)},}}")
    return f"^0*(?:{'|'.join(forms)})$"


def secret(names: Sequence[str]) -> str:
    """Return a regular expression for the ends of parameters' names; "" for none."""
    return "|".join(re.escape(name) for name in sorted(names))


@operation()
def install(vm: VM, machine: Machine) -> Generator[StringCommand, None, None]:
    """Install the whole configuration of nginx, checked by `nginx -t`."""
    lineages: dict[str, Lineage] = host.get_fact(Lineages)
    published: dict[str, list[str]] = host.get_fact(Published)
    yield from tree.install._inner(
        path=FOLDER,
        files=configuration(vm, machine, lineages, published),
        check="/usr/sbin/nginx -t -q -c {}/nginx.conf",
    )


def configuration(
    vm: VM, machine: Machine, lineages: dict[str, Lineage], published: dict[str, list[str]]
) -> dict[str, str]:
    """Return nginx's files by path; `lineages` are certificates, and `published` the static folders
    of kept releases, both by app."""
    values = _values(vm, machine)
    pages = ["nginx.conf", MAINTENANCE]
    texts = {page: render(f"etc/onebox/nginx/{page}", **values) for page in pages}
    claimed = {domain for app in vm.apps for domain in app.domains}
    for app in vm.apps:
        lineage = lineages.get(app.name)
        # The names of its current certificate are served until there is one for the new names, so
        # that a mistyped domain, for which there is never one, does not take the app offline.
        old = [name for name in lineage.domains if name not in claimed] if lineage else []
        path = target(SITE, app=app).removeprefix("etc/onebox/nginx/")
        texts[path] = render(
            SITE,
            app=app,
            domains=[*app.domains, *old],
            certificate=f"{LIVE}/{app.name}" if lineage else None,
            folders=_folders(app, published.get(app.name, [])),
            uploads=Uploads.of(app.max_body),
            untrusted_headers=UNTRUSTED_HEADERS if app.limits else (),
            **values,
        )
    return texts


def _values(vm: VM, machine: Machine) -> dict[str, Any]:
    """Return what all of nginx's templates share."""
    is_newer = machine.debian != "12"
    return {
        "addresses": ["", "[::]:"] if machine.ipv6 else [""],
        "http2_directive": is_newer,  # since nginx 1.25
        # OpenSSL has the post-quantum key exchange since 3.5.
        "curves": ("X25519MLKEM768:" if is_newer else "") + "X25519:prime256v1:secp384r1",
        "webroot": WEBROOT,
        "secret": secret(vm.log_redact),
    }


def _folders(app: App, published: Sequence[str]) -> list[Static]:
    """Return the app's static folders and those of its kept releases, whose pages still request
    them, until another release is live and after a rollback."""
    current = {static.path.strip("/") for static in app.static}
    earlier = [name for name in published if name not in current]
    return [*app.static, *(Static(path=f"/{name}", folder=name) for name in earlier)]
