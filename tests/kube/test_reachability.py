"""Who knows whether the API server is the one that was known before it was lost?"""

from __future__ import annotations

import asyncio

from nodeipam_ctl.kube.reachability import Reachability


async def test_followers_of_a_server_that_was_lost_look_after_each_reader_that_is_back() -> None:
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1

    known = Reachability("https://api")
    known.follow("pools", look)
    known.trust("nodes")  # was never in doubt
    assert looks == 0
    known.doubt("nodes")
    known.doubt("pages")
    certain = asyncio.create_task(known.certain())
    known.trust("nodes")
    known.trust("pools")
    assert known.doubted == ("pages",)
    known.trust("pages")
    assert known.doubted == ("pools",), "pools were listed before the pages were back"
    assert looks == 2
    known.trust("pools")
    await certain
