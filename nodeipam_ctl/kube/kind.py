"""What must be known of a kind of object to follow it? Where it is listed, and how its slim record is made and told apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from msgspec import Raw

from nodeipam_ctl.errors import NotFound

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource(Generic[T]):
    """A kind of object and how its slim record is made.

    Attributes:
        path: of the collection: `/api/v1/nodes`.
        decode: the record of one object; None for one that cannot even be named.
        key: the record's identity; the uid where a re-created object of the same name is another object.
        same: whether two records differ in nothing that matters: then no delta is delivered.
        glance: key, resourceVersion and a fingerprint of all that the record is made of, much cheaper than `decode`: what has
            the fingerprint it had before is dropped. Worth it for what changes often in ways that do not matter: Nodes.
        optional: the resource type may be missing from the server (404): then it is an empty collection.
        remedy: what to do when the resource type is missing and must not be.
    """

    name: str
    path: str
    decode: Callable[[Raw], T | None]
    key: Callable[[T], str]
    same: Callable[[T, T], bool] = lambda old, new: old == new
    glance: Callable[[Raw], tuple[str, str, int] | None] | None = None
    label_selector: str | None = None
    field_selector: str | None = None
    optional: bool = False
    remedy: str = ""

    def missing(self, exc: NotFound) -> NotFound:
        """The error to show when the server does not have the resource type: what happened, and the remedy."""
        return NotFound(f"{exc}; {self.remedy}") if self.remedy else exc
