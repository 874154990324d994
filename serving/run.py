"""Run the application until it is told to end, and answer what it has begun."""

import logging
import socket
from collections.abc import Callable

import uvicorn

from pas.errors import UserError
from serving.app import Service, build_app

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_running: list[tuple[uvicorn.Server, Service]] = []


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: Name or address of an interface.
        port: 0 for a free one.

    Raises:
        UserError: If the address is in use, or not of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--host {host} --port {port}: {error}. Give another port, or 0 for a free one."
        ) from error


def serve(
    service: Service, listener: socket.socket, drain_seconds: float, started: Callable[[], None]
) -> None:
    """Answer requests until `drain` is called.

    Args:
        service: What is served; its scheduler runs.
        listener: From `listen`.
        drain_seconds: How long requests that have begun may take to end.
        started: Called when requests are answered.
    """
    config = uvicorn.Config(
        build_app(service),
        log_config=None,
        access_log=False,  # our own has the vector, and never a text
        timeout_graceful_shutdown=max(1, round(drain_seconds)),
        server_header=False,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    server = uvicorn.Server(config)
    _running.append((server, service))
    try:
        started()
        server.run(sockets=[listener])
    finally:
        _running.remove((server, service))


def drain(service: Service | None = None) -> bool:
    """Take no new requests, and end when those that have begun are answered.

    Args:
        service: What is served; by default every service of this process.

    Returns:
        Whether it was served.
    """
    servers = [s for s, served in _running if service in (None, served)]
    for server in servers:
        server.should_exit = True
    return bool(servers)
