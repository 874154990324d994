"""Servers asked by plain HTTP: their own clients take long to import, or wait for minutes."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlsplit

_USER = re.compile(r"(?<=://)[^\s/]*@")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Answer(NamedTuple):
    """What a server said.

    Attributes:
        body: Content.
        ahead: Seconds that its clock is ahead of ours, to a second; 0 where it told no time.
    """

    body: bytes
    ahead: float


def fetch(
    url: str,
    timeout: float,
    body: bytes | None = None,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Ask once.

    Args:
        url: With user and password, where the server asks for them, in the headers only.
        timeout: Seconds to wait for the connection, and for each part of the answer.
        body: Makes it a POST.
        method: Another one.
        headers: Further ones.

    Raises:
        urllib.error.HTTPError: For a refusal.
        OSError: If there is no answer.
    """
    # 30 ms to import, which what only reads addresses does without.
    from email.utils import parsedate_to_datetime
    from urllib.request import ProxyHandler, Request, build_opener, urlopen

    request = Request(url, data=body, method=method, headers=dict(headers or {}))  # noqa: S310
    # A proxy of the environment leads nowhere for a server on this machine.
    local = urlsplit(url).hostname in _LOOPBACK
    send = build_opener(ProxyHandler({})).open if local else urlopen
    with send(request, timeout=timeout) as answer:
        told = answer.headers.get("Date")
        ahead = (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds() if told else 0.0
        return Answer(answer.read(), ahead)


def without_credentials(address: str) -> str:
    """Drop user, password and signature from a URL; leave anything else as it is."""
    try:
        parts = urlsplit(address)
    except ValueError:  # it is no address
        return redacted(address)
    if not parts.scheme or not parts.netloc:
        return redacted(address)  # such as simplecache::s3://key:secret@bucket
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def redacted(text: str) -> str:
    """Drop user and password from every URL in a text, such as a library's message."""
    return _USER.sub("", text)
