"""A package index over HTTPS with hostile packages."""

from __future__ import annotations

import base64
import io
import ssl
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from operations.artifact import Artifact
from tests.keyholder import archive, member
from tests.lab_server import Server

INFO = "evil-1.dist-info"
WHEEL = "evil-1-py3-none-any.whl"
SDIST = "evil-1.tar.gz"
CA = "/usr/local/share/ca-certificates/hostile.crt"

# Runs in a build hook: tries to read, write and connect, and prints what succeeded.
EXPLORE = """
import glob, json, os, socket, subprocess
found = {"user": subprocess.getoutput("id -un"), "seen": [], "written": [], "reached": []}
for pattern in (
    "/etc/shadow", "/etc/onebox", "/etc/probe", "/etc/letsencrypt", "/var/*", "/home/*", "/root/*",
    "/srv/*/*/*/app", "/srv/*/current", "/run/postgresql", "/run/dbus", "/run/onebox*", "/opt/*",
    "/proc/1/environ", "/boot", "/mnt/*", "/media/*", "/dev/sd*", "/dev/vd*", "/dev/nvme*",
    "/dev/kmsg", "/dev/mem",
):
    found["seen"] += glob.glob(pattern)
for path in ("/x", "/usr/x", "/etc/x", "/usr/local/lib/x", "/project/x", "/srv/x", "/srv/probe/x",
             "/run/systemd/x", "/sys/x", "/usr/lib/python3/dist-packages/x.pth"):
    try:
        open(path, "w").close()
        found["written"].append(path)
    except OSError:
        pass
for path in ("/cache/setuid", glob.glob("/srv/*/venvs/*")[0] + "/setuid"):
    open(path, "w").close()
    try:
        os.chmod(path, 0o6755)
        found["written"].append(path)
    except OSError:
        pass
for kind, address in (
    (socket.AF_UNIX, "/run/postgresql/.s.PGSQL.5432"),
    (socket.AF_UNIX, "/run/dbus/system_bus_socket"),
    (socket.AF_UNIX, "/run/systemd/private"), (socket.AF_INET, ("169.254.169.254", 80)),
    (socket.AF_INET, ("169.254.1.1", 80)),
):
    try:
        with socket.socket(kind) as tried:
            tried.settimeout(2)
            tried.connect(address)
        found["reached"].append(str(address))
    except OSError:
        pass
for family in (socket.AF_NETLINK, socket.AF_PACKET):
    try:
        socket.socket(family, socket.SOCK_RAW).close()
        found["reached"].append(str(family))
    except OSError:
        pass
for command in ("unshare -Ur true", "mount -t tmpfs x /tmp"):
    if os.system(command + " 2>/dev/null") == 0:
        found["reached"].append(command)
raise SystemExit("FOUND " + json.dumps(found) + " END")
"""


def archive_of(files: Mapping[str, str]) -> Artifact:
    """Return an archive of these files."""
    return archive(*((member(name), text.encode()) for name, text in files.items()))


def wheel(
    files: Mapping[str, str | bytes] | None = None,
    *,
    links: Mapping[str, str] | None = None,
    record: str | None = None,
    scripts: str = "",
) -> bytes:
    """Return a wheel of the package `evil` with these files, and symbolic links in zip's format."""
    contents: dict[str, str | bytes] = {
        "evil.py": "",
        **(files or {}),
        f"{INFO}/METADATA": "Metadata-Version: 2.1\nName: evil\nVersion: 1\n",
        f"{INFO}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if scripts:
        contents[f"{INFO}/entry_points.txt"] = f"[console_scripts]\n{scripts}\n"
    listed = "".join(f"{name},,\n" for name in [*contents, *(links or {}), f"{INFO}/RECORD"])
    contents[f"{INFO}/RECORD"] = listed if record is None else record
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFREG | 0o6777) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
        for name, target in (links or {}).items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, target)
    return buffer.getvalue()


def sdist(code: str) -> bytes:
    """Return a source distribution whose build backend runs code."""
    backend = (
        "def get_requires_for_build_wheel(c=None): return []\n"
        "def build_wheel(folder, settings=None, metadata=None):\n"
        "    import base64, os, runpy\n"
        f"    exec(base64.b64decode({base64.b64encode(code.encode())!r}), {{}})\n"
        f"    open(os.path.join(folder, {WHEEL!r}), 'wb').write("
        f"base64.b64decode({base64.b64encode(wheel())!r}))\n"
        f"    return {WHEEL!r}\n"
    )
    files = {
        "pyproject.toml": '[project]\nname = "evil"\nversion = "1"\n[build-system]\n'
        'requires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": backend,
        "PKG-INFO": "Metadata-Version: 2.2\nName: evil\nVersion: 1\n",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"evil-1/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@dataclass
class Index:
    """An index: its address, and its files by name."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)

    def lock(self, *names: str, digest: str = "", settings: str = "") -> dict[str, str]:
        """Return the files of a project whose uv.lock pins these files of the index."""
        listed = [
            f'{{ url = "{self.address}/files/{name}", hash = "sha256:'
            f'{digest or sha256(self.files.get(name, b"")).hexdigest()}" }}'
            for name in names
        ]
        source = "".join(f"sdist = {file}\n" for file in listed if ".tar.gz" in file)
        wheels = ", ".join(file for file in listed if ".whl" in file)
        lock = (
            'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n\n'
            '[[package]]\nname = "app"\nversion = "1"\nsource = { virtual = "." }\n'
            'dependencies = [{ name = "evil" }]\n\n'
            '[package.metadata]\nrequires-dist = [{ name = "evil" }]\n\n'
            f'[[package]]\nname = "evil"\nversion = "1"\n'
            f'source = {{ registry = "{self.address}/simple" }}\n{source}wheels = [{wheels}]\n'
        )
        project = (
            '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11"\n'
            f'dependencies = ["evil"]\n\n[tool.uv]\n{settings}\n'
            f'[[tool.uv.index]]\nurl = "{self.address}/simple"\ndefault = true\n'
        )
        return {"pyproject.toml": project, "uv.lock": lock, "main.py": ""}


@contextmanager
def serve(server: Server, folder: Path) -> Iterator[Index]:
    """Serve an index that the server trusts, from this machine."""
    address = server.host.address.rpartition(".")[0] + ".1"
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-days", "2", "-subj", "/CN=hostile", "-addext", f"subjectAltName=IP:{address}",
        "-addext", "basicConstraints=critical,CA:FALSE",
        "-keyout", str(key), "-out", str(certificate),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    server.run(f"cat > {CA} && update-ca-certificates", given=certificate.read_text())
    trust = "grep -qs system-certs /etc/uv/uv.toml || { mkdir -p /etc/uv; printf"
    server.run(f"{trust} 'system-certs = true\\n' | cat - /etc/uv/uv.toml > /run/uv; "
               "mv /run/uv /etc/uv/uv.toml; chmod 644 /etc/uv/uv.toml; }", check=False)  # fmt: skip
    index = Index("")
    web = ThreadingHTTPServer((address, 0), _handler(lambda: index))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    web.socket = context.wrap_socket(web.socket, server_side=True)
    index.address = f"https://{address}:{web.server_port}"
    Thread(target=web.serve_forever, daemon=True).start()
    try:
        yield index
    finally:
        web.shutdown()
        web.server_close()
        server.run(f"rm -f {CA} && update-ca-certificates --fresh")


def _handler(index: Callable[[], Index]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            current = index()
            if name in current.redirects:
                self.send_response(302)
                self.send_header("Location", current.redirects[name])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = current.files.get(name)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

        do_HEAD = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_: object) -> None:
            pass

    return Handler
