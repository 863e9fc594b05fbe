"""An ASGI app without a framework or a database, that tells what reached it."""

import json
import os
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the client, the scheme, the headers and the environment, as JSON."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    told = {
        "client": scope["client"][0],
        "scheme": scope["scheme"],
        "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
        "environment": {k: v for k, v in os.environ.items() if k.startswith("ECHO_")},
    }
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
