"""How is YAML read so that no text can end the process? Depth is counted before libyaml's loader, which recurses in C, sees it."""

from __future__ import annotations

from typing import Any, Final

import yaml

MOST_DEPTH: Final = 100
"""Of files that people write; a ClusterCIDR is 7 deep, a kubeconfig 6."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where PyYAML was built with it: ten times faster."""


class TooDeep(ValueError):
    """Nested deeper than anything that makes sense; libyaml's loader would overflow the C stack, and the process die."""


class NotYAML(ValueError):
    """The text cannot be understood; the message is `not YAML`, with the line where it is known."""


def documents(raw: bytes) -> list[Any]:
    """The values of a text's documents, of JSON's types and what YAML adds to them (dates, sets), never of Python's.

    Raises:
        NotYAML: it is none, or is nested beyond reason.
    """
    try:
        check_depth(raw, MOST_DEPTH)
        return list(yaml.load_all(raw, Loader=_LOADER))
    except TooDeep as exc:
        raise NotYAML(f"not YAML that anybody means: {exc}") from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        mark = getattr(exc, "problem_mark", None)
        raise NotYAML(f"not YAML{f' at line {mark.line + 1}' if mark is not None else ''}") from exc


def check_depth(raw: bytes, most: int) -> None:
    """Refuses nesting deeper than `most` levels.

    Raises:
        TooDeep: it is.
        yaml.YAMLError: the text cannot be parsed.
    """
    if len(raw) <= most:
        return
    depth = 0
    for event in yaml.parse(raw, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > most:
                raise TooDeep(f"nested deeper than {most} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
