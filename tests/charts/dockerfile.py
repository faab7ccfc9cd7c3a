"""What does the Dockerfile do, step by step? Read so that a test can do the same without a container engine.

Only what our Dockerfile uses is understood; anything else is an error, so that the two cannot drift apart.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A shell command."""

    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Files from the build context, or from an earlier stage."""

    sources: tuple[str, ...]
    target: str
    stage: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir:
    """The directory of what follows."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Env:
    """Environment variables of what follows and of the image."""

    variables: dict[str, str]


Step = Run | Copy | Workdir | Env


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """From one FROM to the next."""

    name: str
    base: str
    steps: tuple[Step, ...]
    user: str
    entrypoint: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        """What a program in the image finds in its environment."""
        found: dict[str, str] = {}
        for step in self.steps:
            if isinstance(step, Env):
                found |= step.variables
        return found


def stages(text: str) -> tuple[Stage, ...]:
    """The stages of a Dockerfile, in order.

    Raises:
        ValueError: an instruction that is not understood.
    """
    arguments: dict[str, str] = {}
    found: list[Stage] = []
    name, base, user, entrypoint = "", "", "root", ()
    steps: list[Step] = []

    def close() -> None:
        if base:
            found.append(Stage(name=name, base=base, steps=tuple(steps), user=user, entrypoint=entrypoint))

    for word, rest in _instructions(text):
        match word:
            case "ARG":
                key, _, value = rest.partition("=")
                arguments[key] = value
            case "FROM":
                close()
                image, _, alias = rest.partition(" AS ")
                name, base = (
                    alias or str(len(found)),
                    re.sub(r"\$\{(\w+)\}", lambda m: arguments[m[1]], image),
                )
                user, entrypoint, steps = "root", (), []
            case "RUN":
                steps.append(Run(command=rest))
            case "COPY":
                words = shlex.split(rest)
                stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
                steps.append(Copy(sources=tuple(words[:-1]), target=words[-1], stage=stage))
            case "WORKDIR":
                steps.append(Workdir(path=rest))
            case "ENV":
                steps.append(Env(variables=dict(pair.split("=", 1) for pair in shlex.split(rest))))
            case "USER":
                user = rest
            case "ENTRYPOINT":
                entrypoint = tuple(json.loads(rest))
            case "CMD":
                pass  # what to do when nothing is asked for
            case _:
                raise ValueError(
                    f"Dockerfile: {word} is not understood here; teach tests/charts/dockerfile.py"
                )
    close()
    return tuple(found)


def context(root: Path) -> list[Path]:
    """What the build context holds: .dockerignore excludes everything and names what is let in."""
    lines = (root / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    return [root / line.removeprefix("!") for line in lines if line.startswith("!")]


def _instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]
