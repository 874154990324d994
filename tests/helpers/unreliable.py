"""A proxy on loopback that is slow, and cuts connections in the middle of what they carry."""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

_CHUNK = 4096


@dataclass
class Proxy:
    """A running proxy.

    Attributes:
        port: Where it listens.
        connections: How many it has taken.
        cut: How many of these it has cut.
    """

    port: int = 0
    connections: int = 0
    cut: int = 0


@contextmanager
def unreliable(
    host: str, port: int, *, seed: int = 0, share: float = 0.2, reach: int = 4000, delay: float = 0
) -> Iterator[Proxy]:
    """Stand between clients and a server.

    Args:
        host: Of the server.
        port: Of the server.
        seed: Of which connections are cut, and after how many bytes.
        share: Of connections that are cut.
        reach: A connection is cut after a random number of bytes up to this, both ways together.
        delay: Seconds before each piece of 4 KiB is passed on.
    """
    proxy, chance, loop = Proxy(), random.Random(seed), asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.connections += 1
        left = chance.randrange(reach) if chance.random() < share else None
        there, back = await asyncio.open_connection(host, port)

        async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            nonlocal left
            while piece := await source.read(_CHUNK):
                if delay:
                    await asyncio.sleep(delay)
                if left is not None:
                    if len(piece) >= left:
                        target.write(piece[:left])
                        proxy.cut += 1
                        raise ConnectionAbortedError
                    left -= len(piece)
                target.write(piece)
                await target.drain()
            if target.can_write_eof():
                target.write_eof()

        try:
            await asyncio.gather(pass_on(reader, back), pass_on(there, writer))
        except OSError:
            for end in (writer, back):
                _reset(end)
        for end in (writer, back):
            with suppress(OSError):
                end.close()

    async def end() -> None:
        server.close()
        open_ones = asyncio.all_tasks() - {asyncio.current_task()}
        for one in open_ones:
            one.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0)

    server = loop.run_until_complete(listen())
    proxy.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _reset(end: asyncio.StreamWriter) -> None:
    """End a connection without the usual farewell, as a network that fails does."""
    inner = end.get_extra_info("socket")
    if inner is not None:
        with suppress(OSError):
            inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.transport.abort()
