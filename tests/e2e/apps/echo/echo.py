"""An ASGI app without a framework, that tells what reached it, and how far it can reach."""

import json
import os
import subprocess
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the client, the scheme, the headers and the environment, as JSON.

    What is posted is run by a shell in the app's sandbox: for throwaway servers alone.
    """
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    told: dict[str, Any] = {
        "client": scope["client"][0],
        "scheme": scope["scheme"],
        "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
        "environment": {k: v for k, v in os.environ.items() if k.startswith("ECHO_")},
    }
    if scope["method"] == "POST":
        command = ["sh", "-c", (await receive())["body"].decode()]
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        told = {"code": ran.returncode, "output": ran.stdout + ran.stderr}
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
