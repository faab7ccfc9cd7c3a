"""What is a function we add to CEL: its name, its types, its Python body?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

# CEL knows no value of our own making here. Opaque values are maps of different types, so that the type checker keeps
# them apart: an address is `{text: family}`, a network `{"cidr": text}`, a URL `{text: true}`.
CIDR: Final = "map(string, string)"
IP: Final = "map(string, int)"
URL: Final = "map(string, bool)"


@dataclass(frozen=True, slots=True, kw_only=True)
class CelFunction:
    """One overload of a function.

    Attributes:
        name: how an expression calls it, `cidr` or `sets.contains`.
        overload: its identity, cel-go's.
        parameters: their types, the receiver's first for a member.
        result: type of the result.
        body: gets and returns plain Python values; a ValueError is the expression's error.
        member: called as `receiver.name(…)`.
    """

    name: str
    overload: str
    parameters: tuple[str, ...]
    result: str
    body: Callable[..., Any]
    member: bool = False
