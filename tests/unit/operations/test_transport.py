"""SSH connections wait for nothing."""

import socket

from operations.transport import no_delay


def test_small_packets_do_not_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        transport = no_delay(client)
        try:
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        finally:
            transport.close()
            client.close()
