"""What can go wrong, as one tree: callers act on the class, never on the text.

::

    NodeIPAMError
    ├── UsageError          the command line, a file or the environment is wrong: say it, exit 2
    ├── Transient           try again, no sooner than `retry_after_s`
    ├── OutcomeUnknown      a write may or may not have happened: keep what it reserved, read again
    └── Permanent           trying the same again cannot help
        ├── Forbidden       401, 403: credentials or RBAC
        ├── NotFound        404
        ├── Conflict        409: somebody else changed it first
        ├── AlreadyExists   409 on create
        ├── Expired         410, 504: the resourceVersion is outside the server's history
        └── Invalid         400, 415, 422: the server refuses the content
"""

from __future__ import annotations


class NodeIPAMError(Exception):
    """The root. `str(error)` is one line: the object, the reason, the remedy."""


class UsageError(NodeIPAMError):
    """A flag, a file or an environment variable is wrong; the program ends with exit code 2."""


class Transient(NodeIPAMError):
    """Trying again later may help: no connection, 429, 5xx, EBUSY, ENOBUFS.

    Attributes:
        retry_after_s: what the other side asked us to wait, in seconds; None when it said nothing.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OutcomeUnknown(NodeIPAMError):
    """A write was sent and no trustworthy answer came: it may have taken effect."""


class Permanent(NodeIPAMError):
    """Trying the same again cannot help."""


class Forbidden(Permanent):
    """The API server does not know us (401) or does not allow it (403)."""


class NotFound(Permanent):
    """The object, or its resource type, does not exist."""


class Conflict(Permanent):
    """The object changed since we read it (resourceVersion or uid precondition)."""


class AlreadyExists(Permanent):
    """An object of this name exists already."""


class Expired(Permanent):
    """The resourceVersion or continue token is older than the server's history, or in its future: list again."""


class Invalid(Permanent):
    """The server refuses the content of the request."""
