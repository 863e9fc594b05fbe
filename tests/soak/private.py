"""A private package index with a password, and its packages."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


def wheel(name: str, code: str) -> bytes:
    """Return a wheel, version 1.0, with one module."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)
    return buffer.getvalue()


@contextmanager
def index(
    address: str, user: str, password: str, wheels: dict[str, bytes], asked: Callable[[], None]
) -> Iterator[str]:
    """Serve wheels to clients with the password; call `asked` during each download."""
    known = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/").split("/")[-1]
            if self.headers.get("Authorization") != known:
                self.answer(401, b"", "text/plain")
            elif name.endswith(".whl"):
                if self.command == "GET":
                    asked()
                self.answer(200, wheels[name.partition("-")[0]], "application/octet-stream")
            else:
                file = f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
                there = name.replace("-", "_") in wheels
                page = f'<a href="/files/{file}">{file}</a>'.encode()
                self.answer(200 if there else 404, page, "text/html")

        def answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="corp"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - http.server's name

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((address, 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{address}:{server.server_address[1]}/simple/"
    finally:
        server.shutdown()
        server.server_close()
