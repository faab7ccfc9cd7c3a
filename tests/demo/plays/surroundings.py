"""Says what the inside of a sandbox looks like, then waits to be ended when asked to."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from nodeipam_ctl.demo.inside import main
from nodeipam_ctl.demo.processes import LabError, run, start


def surroundings() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "/run": [p.name for p in Path("/run").iterdir()],
        "processes": sum(p.name.isdigit() for p in Path("/proc").iterdir()),
    }


async def play(request: dict[str, Any]) -> int:
    if "code" in request:
        return int(request["code"])
    if "error" in request:
        raise LabError(request["error"])
    said = surroundings()
    said["devices"] = [d["ifname"] for d in json.loads(await run(["ip", "-j", "link"]))]
    if request.get("hold"):
        await start("deaf", ["sh", "-c", "trap '' TERM INT HUP; sleep 1000"], log=Path("/run/deaf.log"))
        await run(
            ["unshare", "--net", "--mount", "--fork", "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &"]
        )
        print("holding", flush=True)
        if request.get("stuck"):
            time.sleep(1000)  # noqa: ASYNC251 - the point is that the loop does not turn
        await asyncio.Event().wait()
    print(json.dumps(said), flush=True)
    return 0


if __name__ == "__main__":
    main(play)
