"""nginx: the one process that the internet talks to."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from operations import files, systemd, tree
from operations.certbot import LIVE, WEBROOT, Lineage, Lineages
from operations.machine import Machine, machine
from operations.published import Published
from operations.templates import render, target, template
from settings import VM
from settings.app import Static

FOLDER = "/etc/onebox/nginx"
DROP_IN = "etc/systemd/system/nginx.service.d/onebox.conf"
MAINTENANCE = ".onebox/maintenance.html"
SITE = "etc/onebox/nginx/sites/NAME.conf"


# Headers by which proxies name the client, its user, or where the app is: frameworks and libraries
# believe some of them, and there is no proxy before nginx that could have set them.
UNBELIEVED = (
    "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded-Scheme", "X-Forwarded-Ssl",
    "X-Forwarded-User", "X-Remote-User", "Remote-User", "X-Client-IP", "X-Cluster-Client-IP",
    "True-Client-IP", "CF-Connecting-IP", "X-Original-URL", "X-Rewrite-URL", "X-Script-Name",
    "X-SSL-Client-Verify", "X-Scheme", "Front-End-Https",
)  # fmt: skip
# MiB of request bodies that nginx may keep in files, for an app: one client's, and all clients'.
OF_ONE, OF_ALL = 320, 2048


@dataclass(frozen=True)
class Uploads:
    """How many requests whose bodies go into files may be under way at the same time."""

    client: int
    all: int
    too_long: str
    """Matches a Content-Length that is too large."""

    @classmethod
    def of(cls, max_body: int) -> Uploads:
        """Return what bodies of so many MiB allow. A few are always let in, however long."""
        return cls(
            client=max(4, min(32, OF_ONE // max_body)),
            all=max(16, min(256, OF_ALL // max_body)),
            too_long=above(max_body * 1024 * 1024),
        )


def above(number: int) -> str:
    """Return a regular expression for the decimal numbers above this one: nginx can't compare."""
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
    """Return a regular expression for the ends of parameters' names; nothing for none."""
    return "|".join(re.escape(name) for name in sorted(names))


@deploy("nginx")
def nginx() -> None:
    """Serve each app at its domains: over HTTPS as soon as its certificate is there."""
    vm: VM = host.data.vm
    sites(name="Describe the sites", vm=vm, machine=machine(host))
    files.place(
        name="Have nginx read our configuration",
        things=[
            files.Folder(WEBROOT),
            # Apps' users could read there what visitors ask of other apps. nginx's workers must
            # get in, to open new files after a rotation.
            files.Folder("/var/log/nginx", mode="750", owner="root:www-data"),
            files.Folder(f"/{DROP_IN.rpartition('/')[0]}"),
            template(DROP_IN),
        ],
    )
    systemd.running(
        name="Run nginx",
        unit="nginx.service",
        reload_for=[FOLDER, LIVE],  # a certificate changes without its site
        restart_for=[f"/{DROP_IN}"],
    )


@operation()
def sites(vm: VM, machine: Machine) -> Generator[StringCommand, None, None]:
    """Place the whole of nginx's configuration, checked by nginx itself."""
    lineages: dict[str, Lineage] = host.get_fact(Lineages)
    published: dict[str, list[str]] = host.get_fact(Published)
    yield from tree.place._inner(
        path=FOLDER,
        files=configuration(vm, machine, lineages, published),
        check="/usr/sbin/nginx -t -q -c {}/nginx.conf",
    )


def configuration(
    vm: VM, machine: Machine, lineages: dict[str, Lineage], published: dict[str, list[str]]
) -> dict[str, str]:
    """Return nginx's files, by path below its folder; `lineages` are the certificates by app, and
    `published` the folders that its kept releases have."""
    newer = machine.debian != "12"
    values = {
        "addresses": ["", "[::]:"] if machine.ipv6 else [""],
        "http2_directive": newer,  # nginx 1.25 made it a directive of its own
        # OpenSSL knows the post-quantum exchange from 3.5 on.
        "curves": ("X25519MLKEM768:" if newer else "") + "X25519:prime256v1:secp384r1",
        "webroot": WEBROOT,
        "secret": secret(vm.log_redact),
    }
    pages = ["nginx.conf", MAINTENANCE]
    texts = {page: render(f"etc/onebox/nginx/{page}", **values) for page in pages}
    claimed = {domain for app in vm.apps for domain in app.domains}
    for app in vm.apps:
        lineage = lineages.get(app.name)
        certificate = f"{LIVE}/{app.name}" if lineage else None
        # The names that its certificate is for are served until there is one for the new names: a
        # mistyped domain, which nobody gets one for, must not take the app away.
        before = [name for name in lineage.domains if name not in claimed] if lineage else []
        path = target(SITE, app=app).removeprefix("etc/onebox/nginx/")
        domains = [*app.domains, *before]
        # The live release's pages ask for its folders until another one is live, and again when
        # it is gone back to.
        now = {static.path.strip("/") for static in app.static}
        earlier = [name for name in published.get(app.name, []) if name not in now]
        folders = [*app.static, *(Static(path=f"/{name}", folder=name) for name in earlier)]
        texts[path] = render(
            SITE,
            app=app,
            domains=domains,
            certificate=certificate,
            folders=folders,
            uploads=Uploads.of(app.max_body),
            unbelieved=UNBELIEVED if app.limits else (),
            **values,
        )
    return texts
