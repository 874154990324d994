"""Who may ask: API keys, and the largest body of a request."""

import hmac
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pas.errors import UserError


def read_keys(listed: str | None, file: Path | None) -> tuple[str, ...]:
    """Return the API keys.

    Args:
        listed: Separated by commas, as in `PAS_API_KEYS`.
        file: One a line; empty lines and lines that begin with # are left out.

    Raises:
        UserError: If the file cannot be read, or holds no key.
    """
    keys = [key.strip() for key in (listed or "").split(",")]
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise UserError(f"--api-keys {file}: cannot be read ({reason})") from error
        read = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not read:
            raise UserError(f"--api-keys {file}: it holds no key; write one a line")
        keys += read
    return tuple(key for key in keys if key)


def is_allowed(header: str | None, keys: Sequence[str]) -> bool:
    """Return whether an `Authorization` header has one of the keys; any does where there is none.

    Every key is compared, in a time that does not depend on where they differ.
    """
    if not keys:
        return True
    scheme, _, given = (header or "").partition(" ")
    offered = given.strip().encode() if scheme.lower() == "bearer" else b""
    matches = [hmac.compare_digest(offered, key.encode()) for key in keys]
    return any(matches)


class BodyLimit:
    """Refuse bodies that are larger than a limit, before they are held in memory."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        """Wrap an application.

        Args:
            app: The application.
            limit: In bytes.
        """
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count its bytes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._limit:
            await self._refuse(send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise _TooLargeError
            return message

        async def unless_refused(message: Message) -> None:
            # What the application makes of the error is not what the client should be told.
            if received <= self._limit:
                await send(message)

        with suppress(_TooLargeError):
            await self._app(scope, counted, unless_refused)
        if received > self._limit:
            await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
        text = f"the body is larger than {self._limit} bytes"
        body = f'{{"error": {{"message": "{text}", "type": "invalid_request_error"}}}}'.encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class _TooLargeError(Exception):
    pass
