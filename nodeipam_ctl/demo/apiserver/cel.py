"""What does this CEL expression say about a value?

Expressions are compiled once, with types from the schema, by Google's C++ CEL; its type checker speaks the language of
cel-go, which kube-apiserver uses. Not modelled: costs (loops end at 10,000
turns, see `evaluate`), `quantity`, `semver` and the authorizer functions; the
times inside an object are text here, so a rule on the object writes `timestamp(self.since)`, which holds on both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Literal

from cel_expr_python.cel import CelExtension, Env, FunctionDecl, NewEnv, Overload, Type
from cel_expr_python.ext.ext_bindings import ExtBindings
from cel_expr_python.ext.ext_optional import ExtOptional
from cel_expr_python.ext.ext_strings import ExtStrings

from nodeipam_ctl.demo.apiserver import cel_cidr, cel_lists

NO_OLD: Final = object()

# A quoted string, so that names inside it are left alone.
_QUOTED: Final = re.compile(r"""r?("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")
_OLD: Final = re.compile(r"(?<![\w.])oldSelf\b")
_CHAIN: Final = re.compile(r"(?<![\w.])(?:self|oldSelf)((?:\.[A-Za-z_]\w*)+)(\s*\()?")
_STATUS: Final = re.compile(r"^[A-Z_]+: ")
_NO_KEY: Final = re.compile(r'^Key not found in map : "?(.*?)"?$')


class CelCompileError(Exception):
    """The expression does not compile; the text is the compiler's, position included."""


class CelEvaluationError(Exception):
    """The expression compiled but has no value for this object, for instance because it reads an absent field."""


class Expression:
    """A compiled expression over `self`, and `oldSelf` where it asks for it."""

    __slots__ = ("_bind", "_expression", "_optional_old", "text", "uses_old")

    def __init__(
        self,
        text: str,
        *,
        schema: dict[str, Any],
        result: Literal["bool", "string"],
        optional_old: bool = False,
        root: bool = False,
    ) -> None:
        """Compile `text`.

        Args:
            text: the expression.
            schema: OpenAPI v3 schema of `self`.
            result: type the expression must have.
            optional_old: `oldSelf` is an optional value, absent on creation (`optionalOldSelf`).
            root: `self` is a whole object, with apiVersion, kind and metadata.

        Raises:
            CelCompileError: it does not compile, or has another type.
        """
        plain = _QUOTED.sub(lambda match: " " * len(match.group()), text)
        self.text = text
        self.uses_old = bool(_OLD.search(plain))
        self._optional_old = optional_old and self.uses_old
        self._bind = binding(schema, escape="__" in plain)
        _check_fields(text, plain, schema, root=root)
        source = text
        if self._optional_old:
            source = f"cel.bind(oldSelf, __hasOld ? optional.of(__old) : optional.none(), {text})"
        env = _environment(_type_signature(schema), self._optional_old)
        try:
            self._expression = env.compile(source)
        except RuntimeError as exc:
            raise CelCompileError(_STATUS.sub("", str(exc)).removesuffix(" [INVALID_ARGUMENT]")) from exc
        found = self._expression.return_type()
        if found not in (Type.DYN, Type.BOOL if result == "bool" else Type.STRING):
            raise CelCompileError(f"must evaluate to a {result}")

    def evaluate(self, value: Any, old: Any = NO_OLD) -> Any:
        """The value of the expression.

        Raises:
            CelEvaluationError: it has none.
        """
        bind = self._bind
        data = {"self": value if bind is None else bind(value)}
        if self.uses_old:
            former = old if bind is None or old is NO_OLD else bind(old)
            if self._optional_old:
                data["__hasOld"] = old is not NO_OLD
                data["__old"] = None if old is NO_OLD else former
            else:
                data["oldSelf"] = former
        try:
            result = self._expression.eval(data=data)
        except RuntimeError as exc:
            # More than 10,000 turns of all() and exists(). kube-apiserver stops at a cost of a million, some 60,000
            # turns, with these words.
            raise CelEvaluationError("operation cancelled: actual cost limit exceeded") from exc
        if result.type() == Type.ERROR:
            raise CelEvaluationError(_in_cel_gos_words(str(result.value())))
        return result.value()


def _in_cel_gos_words(message: str) -> str:
    message = _STATUS.sub("", message)
    missing = _NO_KEY.match(message)
    return f"no such key: {missing[1]}" if missing else message


@lru_cache(maxsize=256)
def _environment(signature: str, optional_old: bool) -> Env:  # noqa: FBT001 - lru_cache keys on positions
    self_type = _type_of_signature(signature)
    variables = {"self": self_type}
    if optional_old:
        variables |= {"__hasOld": Type.BOOL, "__old": self_type}
    else:
        variables["oldSelf"] = self_type
    # Our extension comes last: it adds overloads to functions the others declare.
    return NewEnv(variables=variables, extensions=[ExtStrings(), ExtOptional(), ExtBindings(), _kubernetes()])


@lru_cache(maxsize=1)
def _kubernetes() -> CelExtension:
    overloads: dict[str, list[Overload]] = {}
    for function in (*cel_cidr.FUNCTIONS, *cel_lists.FUNCTIONS):
        overloads.setdefault(function.name, []).append(
            Overload(
                function.overload,
                return_type=_type_of_signature(function.result),
                parameters=[_type_of_signature(parameter) for parameter in function.parameters],
                is_member=function.member,
                impl=function.body,
            )
        )
    return CelExtension("kubernetes", [FunctionDecl(name, listed) for name, listed in overloads.items()])


_SCALARS: Final = {"boolean": "bool", "integer": "int", "number": "double"}
_TIMES: Final = {"date-time": "timestamp", "date": "timestamp", "duration": "duration"}


def _type_signature(schema: dict[str, Any]) -> str:
    """The CEL type of a schema as text: `list(map(string, dyn))`."""
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        return "dyn"
    if kind == "string":
        return _TIMES.get(schema.get("format", ""), "string")
    if kind == "array":
        return f"list({_type_signature(schema.get('items') or {})})"
    if kind == "object":
        additional = schema.get("additionalProperties")
        inner = _type_signature(additional) if isinstance(additional, dict) else "dyn"
        return f"map(string, {inner})"
    return _SCALARS.get(kind or "", "dyn")


def _type_of_signature(signature: str) -> Type:
    if signature.startswith("list("):
        return Type.List(_type_of_signature(signature[5:-1]))
    if signature.startswith("map("):
        return Type.Map(Type.STRING, _type_of_signature(signature.removeprefix("map(string, ")[:-1]))
    known: Type = getattr(Type, signature.upper())
    return known


def binding(schema: dict[str, Any], *, escape: bool, inside: bool = False) -> Callable[[Any], Any] | None:
    """How a JSON value of this schema becomes the value CEL sees; None when it is that already.

    Times and durations get their types, numbers are doubles, and names CEL cannot spell are escaped
    (`x-y` as `x__dash__y`) when the expression uses such names. `inside` an object, whose fields have no declared
    type, the library takes no times.
    """
    kind = schema.get("type")
    if kind == "number":
        return lambda value: float(value) if isinstance(value, int) else value
    if kind == "string" and schema.get("format") in _TIMES and not inside:
        return _time if schema["format"] != "duration" else _duration
    if kind == "array":
        item = binding(schema.get("items") or {}, escape=escape, inside=inside)
        if item is None:
            return None
        return lambda value: [item(one) for one in value] if isinstance(value, list) else value
    if kind != "object":
        return None
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        every = binding(additional, escape=escape, inside=inside)
        if every is None:
            return None
        return lambda value: (
            {name: every(one) for name, one in value.items()} if isinstance(value, dict) else value
        )
    fields = {
        name: bind
        for name, inner in (schema.get("properties") or {}).items()
        if (bind := binding(inner, escape=escape, inside=True)) is not None
    }
    names = {
        name: escaped(name) for name in schema.get("properties") or {} if escape and escaped(name) != name
    }
    if not fields and not names:
        return None

    def bind_object(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            names.get(name, name): fields[name](inner) if name in fields and inner is not None else inner
            for name, inner in value.items()
        }

    return bind_object


_RESERVED: Final = frozenset(
    {
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
    }
    | {"loop", "package", "namespace", "return", "var", "void", "while"}
)
_ESCAPES: Final = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))


def escaped(name: str) -> str:
    """A property's name as CEL rules write it."""
    if name in _RESERVED:
        return f"__{name}__"
    for character, escape in _ESCAPES:
        name = name.replace(character, escape)
    return name


def _time(value: str) -> datetime:
    return datetime.fromisoformat(value)


_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def _duration(value: str) -> timedelta:
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(value))
    return timedelta(seconds=-seconds if value.startswith("-") else seconds)


def _check_fields(text: str, plain: str, schema: dict[str, Any], *, root: bool) -> None:
    """Refuse `self.nope`: for the compiler objects are maps, whose keys it does not know."""
    for match in _CHAIN.finditer(plain):
        names = match[1][1:].split(".")
        if match[2]:
            names.pop()
        place = match.start(1) + 1
        here = schema
        at_root = root
        for name in names:
            properties = here.get("properties")
            if here.get("type") != "object" or properties is None:
                break
            known = {escaped(own): inner for own, inner in properties.items()}
            if at_root:
                known |= _ROOT_FIELDS
            if name not in known:
                raise CelCompileError(
                    f"ERROR: <input>:1:{place}: undefined field '{name}'\n | {text}\n | {'.' * (place - 1)}^"
                )
            here, at_root = known[name], False
            place += len(name) + 1


_ROOT_FIELDS: Final[dict[str, dict[str, Any]]] = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}},
    },
}
