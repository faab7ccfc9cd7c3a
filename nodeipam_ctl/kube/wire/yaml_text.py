"""How is YAML read so that no text can end the process? Its shape is looked at before it is loaded.

libyaml's loader recurses in C, so depth is counted first. Aliases are loaded as references and cost nothing there, but
whoever writes the value out afterwards writes all they stand for: a few lines can stand for gigabytes.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

MOST_DEPTH: Final = 100
"""Of files that people write; a ClusterCIDR is 7 deep, a kubeconfig 6."""

MOST_ALIASED: Final = 1 << 20
"""How many characters all aliases of a text may stand for; people alias a selector or two."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where PyYAML was built with it: ten times faster."""


class TooDeep(ValueError):
    """Nested deeper than anything that makes sense; libyaml's loader would overflow the C stack, and the process die."""


class TooAliased(ValueError):
    """Its aliases stand for more than anything that makes sense, or for themselves."""


class NotYAML(ValueError):
    """The text cannot be understood; the message is `not YAML`, with the line where it is known."""


class Repeated(ValueError):
    """A key stands twice in one mapping; the message names it and its line."""


def documents(raw: bytes, *, unique_keys: bool = False) -> list[Any]:
    """The values of a text's documents, of JSON's types and what YAML adds to them (dates, sets), never of Python's.

    Args:
        raw: the text.
        unique_keys: refuse a key that stands twice in one mapping, as kubectl does; else the last one wins.

    Raises:
        NotYAML: it is none, or is nested beyond reason.
        Repeated: a key stands twice.
    """
    try:
        check_shape(raw, MOST_DEPTH)
        if unique_keys:
            _check_keys(raw)
        return list(yaml.load_all(raw, Loader=_LOADER))
    except Repeated:
        raise
    except (TooDeep, TooAliased) as exc:
        raise NotYAML(f"not YAML that anybody means: {exc}") from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        mark = getattr(exc, "problem_mark", None)
        raise NotYAML(f"not YAML{f' at line {mark.line + 1}' if mark is not None else ''}") from exc


def check_shape(raw: bytes, most_depth: int) -> None:
    """Refuses nesting deeper than `most_depth` levels, and aliases that stand for more than `MOST_ALIASED` characters.

    Raises:
        TooDeep: it is nested deeper.
        TooAliased: the aliases stand for more, or one for what it lies in.
        yaml.YAMLError: the text cannot be parsed.
    """
    if len(raw) <= most_depth:
        return
    aliased = 0
    sizes: dict[str, int] = {}  # of what the anchors name, written out; a few characters more than it is
    total = 0
    begun: list[tuple[str | None, int]] = []
    for event in yaml.parse(raw, Loader=_LOADER):
        if isinstance(event, yaml.ScalarEvent):
            size = len(event.value) + 1
            total += size
            if event.anchor:
                sizes[event.anchor] = size
        elif isinstance(event, yaml.CollectionStartEvent):
            begun.append((event.anchor, total))
            if event.anchor:
                sizes.pop(event.anchor, None)
            total += 1
            if len(begun) > most_depth:
                raise TooDeep(f"nested deeper than {most_depth} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = begun.pop()
            if anchor:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in begun) and event.anchor not in sizes:
                raise TooAliased(f"the alias *{event.anchor} stands for what it lies in")
            size = sizes.get(event.anchor or "", 0)  # what is not there, the loader reports
            total += size
            aliased += size
            if aliased > MOST_ALIASED:
                raise TooAliased(f"its aliases stand for more than {MOST_ALIASED >> 20} MiB")


def _check_keys(raw: bytes) -> None:
    """Refuses a scalar key that stands twice in one mapping; `<<` may, and what it merges may be said again."""
    seen: set[int] = set()
    ahead: list[yaml.Node] = list(yaml.compose_all(raw, Loader=_LOADER))
    while ahead:
        node = ahead.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            ahead.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            keys: set[tuple[str, str]] = set()
            for key, value in node.value:
                ahead += (key, value)
                if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                    continue
                if (key.tag, key.value) in keys:
                    raise Repeated(
                        f"line {key.start_mark.line + 1}: {key.value!r} is already set in this mapping"
                    )
                keys.add((key.tag, key.value))
