"""What value does a JSONPath of a printer column find? The subset that CRDs may use."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

_STEP: Final = re.compile(
    r"""\.(?P<name>[A-Za-z_$][\w$/\0-]*|\*)       # .spec; \0 stands for an escaped dot
      | \[['"](?P<quoted>[^'"]+)['"]\]           # ['a.b/c']
      | \[(?P<index>-?\d+|\*)\]                  # [0], [*]
      | \[\?\(@\.(?P<key>[\w.]+)\s*==\s*["'](?P<value>[^"']*)["']\)\]  # [?(@.type=="Ready")]
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A compiled path such as `.status.conditions[?(@.type=="Ready")].status`."""

    text_of_path: str
    _steps: tuple[tuple[str, Any], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        steps: list[tuple[str, Any]] = []
        at = 0
        path = self.text_of_path.strip("{}").replace("\\.", "\0")
        for match in _STEP.finditer(path):
            if match.start() != at:
                break
            at = match.end()
            if match["name"]:
                steps.append(
                    ("every", None) if match["name"] == "*" else ("key", match["name"].replace("\0", "."))
                )
            elif match["quoted"]:
                steps.append(("key", match["quoted"].replace("\0", ".")))
            elif match["index"]:
                steps.append(("every", None) if match["index"] == "*" else ("index", int(match["index"])))
            else:
                steps.append(("where", (match["key"].split("."), match["value"])))
        if at != len(path):
            steps = [
                ("nothing", None)
            ]  # a path that is not read to its end must not find what its beginning names
        object.__setattr__(self, "_steps", tuple(steps))

    def values(self, obj: Any) -> list[Any]:
        """Every value found, in document order."""
        found = [obj]
        for kind, argument in self._steps:
            found = [value for one in found for value in _walk(one, kind, argument)]
        return found

    def text(self, obj: Any) -> str:
        """The first value as text, empty when there is none."""
        values = self.values(obj)
        if not values or values[0] is None:
            return ""
        value = values[0]
        return str(value).lower() if isinstance(value, bool) else str(value)


def _walk(value: Any, kind: str, argument: Any) -> list[Any]:
    if kind == "key":
        return [value[argument]] if isinstance(value, dict) and argument in value else []
    if kind == "index":
        inside = isinstance(value, list) and -len(value) <= argument < len(value)
        return [value[argument]] if inside else []
    if kind == "every":
        if isinstance(value, dict):
            return list(value.values())
        return list(value) if isinstance(value, list) else []
    if kind == "nothing":
        return []
    path, wanted = argument
    return [one for one in value if _lookup(one, path) == wanted] if isinstance(value, list) else []


def _lookup(value: Any, path: list[str]) -> Any:
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value
