"""Is this text of that OpenAPI format?

Only the formats a CRD may use count; kube-apiserver ignores all others, and so do we.

Source: k8s.io/kube-openapi/pkg/validation/strfmt.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import date, datetime
from ipaddress import IPv4Address, IPv6Address, ip_interface
from typing import Any, Final
from urllib.parse import urlsplit

_DATE_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_DURATION: Final = re.compile(r"[+-]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+")
_UUID: Final = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_MAC: Final = re.compile(r"(?i)[0-9a-f]{2}([:-][0-9a-f]{2}){5}")
_HOSTNAME: Final = re.compile(
    r"(?i)(?=.{1,253}$)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*"
)
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def _date_time(text: str) -> bool:
    if not _DATE_TIME.fullmatch(text):
        return False
    # fromisoformat knows microseconds, RFC 3339 any number of digits.
    return _reads(lambda: datetime.fromisoformat(re.sub(r"\.[0-9]+", "", text.upper())))


def _cidr(text: str) -> bool:
    address, slash, length = text.partition("/")
    return bool(slash and address) and length.isdigit() and _reads(lambda: ip_interface(text))


def _reads(parse: Callable[[], object]) -> bool:
    try:
        parse()
    except (ValueError, binascii.Error):
        return False
    return True


_TEXT: Final[dict[str, Callable[[str], bool]]] = {
    "byte": lambda text: _reads(lambda: base64.b64decode(text, validate=True)),
    "cidr": _cidr,
    "date": lambda text: len(text) == 10 and _reads(lambda: date.fromisoformat(text)),
    "date-time": _date_time,
    "datetime": _date_time,
    "duration": lambda text: bool(_DURATION.fullmatch(text)),
    "email": lambda text: bool(_EMAIL.fullmatch(text)),
    "hostname": lambda text: bool(_HOSTNAME.fullmatch(text)),
    "ipv4": lambda text: _reads(lambda: IPv4Address(text)),
    "ipv6": lambda text: _reads(lambda: IPv6Address(text)),
    "mac": lambda text: bool(_MAC.fullmatch(text)),
    "uri": lambda text: _reads(lambda: urlsplit(text)) and bool(urlsplit(text).scheme),
    "uuid": lambda text: bool(_UUID.fullmatch(text)),
}
_BITS: Final = {"int32": 31, "int64": 63}


def has_format(value: Any, name: str) -> bool:
    """Whether a string or an integer is of the format `name`; True for a format nobody knows."""
    if isinstance(value, str):
        check = _TEXT.get(name)
        return check is None or check(value)
    bits = _BITS.get(name)
    if bits is None or isinstance(value, (bool, float)) or not isinstance(value, int):
        return True
    return -(1 << bits) <= value < 1 << bits
