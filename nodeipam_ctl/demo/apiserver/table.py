"""How do objects look as a Table or as bare metadata? What `kubectl get` asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from nodeipam_ctl.demo.apiserver import wire
from nodeipam_ctl.demo.apiserver.columns import BUILTIN_COLUMNS, Cell
from nodeipam_ctl.demo.apiserver.errors import Json
from nodeipam_ctl.demo.apiserver.resources import Resource

NAME_HELP: Final = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)


def partial(obj: Json) -> Json:
    """PartialObjectMetadata: nothing but the metadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def table(
    resource: Resource,
    objects: Sequence[Json],
    *,
    list_metadata: Json,
    now: datetime,
    with_columns: bool = True,
    include: str = "Metadata",
) -> Json:
    """A meta.k8s.io/v1 Table.

    Args:
        resource: Whose columns.
        objects: One row each.
        list_metadata: resourceVersion, continue, remainingItemCount.
        now: For ages.
        with_columns: False for all but the first event of a watch.
        include: `Metadata`, `Object` or `None`: what each row carries beside its cells.
    """
    cells = columns_of(resource)
    rows = [_row(obj, cells, now, include) for obj in objects]
    definitions = [
        {
            "name": cell.name,
            "type": cell.type,
            "format": cell.format,
            "description": cell.description or (NAME_HELP if cell.name == "Name" else ""),
            "priority": cell.priority,
        }
        for cell in cells
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_metadata,
        "columnDefinitions": definitions if with_columns else None,
        "rows": rows,
    }


def columns_of(resource: Resource) -> list[Cell]:
    """The columns of a resource: its definition's, the built-in kind's, or Name and Age."""
    if resource.custom is not None:
        return [_NAME, *(_custom_cell(column) for column in resource.custom.columns)]
    return [_NAME, *BUILTIN_COLUMNS.get((resource.group, resource.plural), (_CREATED,))]


def age(stamp: str | None, now: datetime) -> str:
    """A duration as kubectl prints it (apimachinery's duration.HumanDuration): `45s`, `3m12s`, `5h`, `12d`."""
    if not stamp:
        return "<unknown>"
    seconds = int((now.astimezone(UTC) - datetime.fromisoformat(stamp)).total_seconds())
    if seconds < -1:
        return "<invalid>"
    seconds = max(seconds, 0)
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return f"{minutes}m" + (f"{seconds % 60}s" if seconds % 60 else "")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h" + (f"{minutes % 60}m" if minutes % 60 else "")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return f"{days}d" + (f"{hours % 24}h" if hours % 24 else "")
    if days < 730:
        return f"{days}d"
    return f"{days // 365}y" + (f"{days % 365}d" if days % 365 and days < 8 * 365 else "")


def _row(obj: Json, cells: Sequence[Cell], now: datetime, include: str) -> Json:
    row: Json = {"cells": [_value(cell, obj, now) for cell in cells]}
    if include == "Metadata":
        row["object"] = partial(obj)
    elif include == "Object":
        row["object"] = obj
    return row


def _value(cell: Cell, obj: Json, now: datetime) -> Any:
    value = cell.read(obj)
    if cell.is_age:
        if value is None and cell.format != "name":
            return age(None, now)
        return age(value, now) if isinstance(value, str) else value
    return value


def _custom_cell(column: Any) -> Cell:
    read: Callable[[Json], Any] = lambda obj: _custom_value(column, obj)  # noqa: E731
    return Cell(
        name=column.name,
        type=column.type,
        format=column.format,
        description=column.description,
        priority=column.priority,
        read=read,
        is_age=column.type == "date",
    )


def _custom_value(column: Any, obj: Json) -> Any:
    values = column.path.values(obj)
    if not values or values[0] is None:
        return None
    if column.type == "string":
        texts = [value if isinstance(value, str) else wire.encode(value).decode() for value in values]
        return ",".join(texts)
    return values[0]


_NAME: Final = Cell(name="Name", format="name", read=lambda obj: obj["metadata"]["name"])
_CREATED: Final = Cell(
    name="Age", read=lambda obj: obj["metadata"].get("creationTimestamp"), is_age=True, description="Age"
)
