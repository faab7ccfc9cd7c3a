"""What changed in a collection of records?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Added(Generic[T]):
    """An object that was not there before."""

    new: T


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed(Generic[T]):
    """An object whose record differs from what it was; the key is the same."""

    old: T
    new: T


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed(Generic[T]):
    """An object that is gone."""

    old: T


Delta = Added[T] | Changed[T] | Removed[T]
