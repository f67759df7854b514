"""A server in front of another, whose connections can be cut, dropped and left without an answer."""

import socket
import threading
from contextlib import suppress


class Flaky:
    """A way to `address` that drops its first connections; yields its port and a list with an entry for each drop.

    While `silent` is set, it accepts connections and requests, and never answers.
    """

    def __init__(self, address: tuple[str, int], drops: int) -> None:
        self.address, self.drops, self.dropped = address, drops, list[int]()
        self.live: list[socket.socket] = []
        self.silent = False

    def __enter__(self) -> tuple[int, list[int]]:
        self.socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.serve, daemon=True).start()
        return self.socket.getsockname()[1], self.dropped

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def cut(self, drops: int) -> None:
        """Cut all connections, and drop the next ones."""
        self.drops += drops
        for client in self.live:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            if len(self.dropped) < self.drops:
                self.dropped.append(1)
                client.close()
                continue
            self.live.append(client)
            upstream = socket.create_connection(self.address)
            for source, target in ((client, upstream), (upstream, client)):
                threading.Thread(target=self.copy, args=(source, target), daemon=True).start()

    def copy(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self.silent:
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass
