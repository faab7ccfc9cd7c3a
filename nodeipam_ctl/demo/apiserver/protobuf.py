"""What does a body in application/vnd.kubernetes.protobuf say? A small reader for the messages clients do send."""

from __future__ import annotations

from nodeipam_ctl.demo.apiserver.errors import Json


class UnknownMessage(ValueError):
    """No such message is known here; the client is told to send JSON."""


def decode(raw: bytes) -> Json:
    """The object in a runtime.Unknown envelope.

    Raises:
        UnknownMessage: a kind without a description here.
    """
    raise UnknownMessage(raw[:4].decode("latin-1"))
