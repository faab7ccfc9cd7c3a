"""Which benchmarks are there, and how are they run? `python tests/bench [NAME [ARGS]]` runs every script beside this one, or one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
_MAIN = 'if __name__ == "__main__":'


def main(arguments: list[str]) -> int:
    """Runs the benchmarks one after the other, never two at once; 1 when one of them failed."""
    scripts = {file.stem: file for file in sorted(HERE.glob("[!_]*.py")) if _MAIN in file.read_text()}
    if arguments and arguments[0] not in scripts:
        print(f"bench: no benchmark {arguments[0]!r}; there are: {', '.join(scripts)}", file=sys.stderr)
        return 2
    chosen = arguments[:1] or list(scripts)
    failed = []
    for name in chosen:
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, str(scripts[name]), *arguments[1:]], check=False).returncode != 0:
            failed.append(name)
    if failed:
        print(f"bench: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
