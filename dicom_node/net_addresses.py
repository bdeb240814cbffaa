"""Host names and URLs as settings state them: what no connection can ever be made to is refused at once."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_NAME = re.compile(r"(?=.{1,253}\Z)(?:[\w-]{1,63}\.)*[\w-]{1,63}\.?")  # letters of any script: IDNA encodes them


def a_host(host: str) -> str:
    """Return a host name or address. Raises ValueError where it is none."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if _NAME.fullmatch(host) is None:
            message = "a host name or an address is needed, without port and brackets"
            raise ValueError(message) from None
    return host


def a_url(url: str) -> str:
    """Return a URL whose host and port can be, or the empty text. Raises ValueError where they cannot."""
    if not url:
        return url
    parts = urlsplit(url)  # raises ValueError itself on brackets that hold no address
    a_host(parts.hostname or "")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        message = "the port of a URL is a number from 1 to 65535"
        raise ValueError(message)
    return url
