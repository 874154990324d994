"""A proxy on loopback in front of a server, which can be made to drop every connection."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class FaultyProxy:
    """Passes bytes on, until it is told to refuse.

    Attributes:
        address: Its HTTP address.
        refusing: Whether connections are dropped.
        refused: How many were.
    """

    def __init__(self, target: int) -> None:
        self.refusing, self.refused = False, 0
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def refuse(self) -> None:
        """Drop what is open and whatever comes."""
        self.refusing = True
        for end in [*self._open]:
            _close(end)

    def close(self) -> None:
        self.refuse()
        _close(self._listener)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                if self.refusing:
                    self.refused += 1
                    caller.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open |= {caller, server}
                for ends in ((caller, server), (server, caller)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            _close(end)
            self._open.discard(end)


def _close(end: socket.socket) -> None:
    # Closing alone would leave another thread's `recv` waiting.
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def faulty_proxy(target: int) -> Iterator[FaultyProxy]:
    """Run a proxy to a port of 127.0.0.1."""
    proxy = FaultyProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
