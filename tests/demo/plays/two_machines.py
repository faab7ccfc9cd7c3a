"""Two machines with a conflist and routes made by hand; says what can be seen from inside them."""

import asyncio
import json
from typing import Any

from nodeipam_ctl.demo import machines, mesh, pods, sandbox, segment
from nodeipam_ctl.demo.cni import Runtime
from nodeipam_ctl.demo.inside import main
from nodeipam_ctl.demo.processes import LabError, attempt, run, start

HOST_PORT = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
ANSWER = "import socket; s = socket.create_server(('', 80)); c, _ = s.accept(); c.sendall(b'from the pod')"
ASK = "import socket, sys; print(socket.create_connection((sys.argv[1], 8080), 5).recv(100).decode())"


def conflist(number: int) -> dict[str, Any]:
    ranges = [[{"subnet": f"10.244.{number}.0/24"}], [{"subnet": f"fd00:10:244:{number}::/64"}]]
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    ptp = {"type": "ptp", "ipam": {"type": "host-local", "ranges": ranges, "routes": routes}}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "by-hand", "plugins": [ptp, portmap]}


async def machine(number: int, other: int) -> machines.Machine:
    made = await machines.boot(f"node-{number}")
    await segment.plug_in(made, segment.place(number))
    (made.cni_conf_dir / "10-by-hand.conflist").write_text(json.dumps(conflist(number)))
    await machines.sysctl(made, [("net.ipv4.ip_forward", "1"), ("net.ipv6.conf.all.forwarding", "1")])
    at = segment.place(other)
    commands = (
        f"route add 10.244.{other}.0/24 via {at.ipv4}\nroute add fd00:10:244:{other}::/64 via {at.ipv6}\n"
    )
    await run(made.inside("ip", "-batch", "-"), stdin=commands)
    return made


async def play(request: dict[str, Any]) -> int:
    machines.lay_entrance()
    await segment.lay()
    one, two = await machine(1, 2), await machine(2, 1)
    plugin_dir = sandbox.plugin_dir()
    assert plugin_dir is not None
    said: dict[str, Any] = {}
    runtimes = [Runtime(inside=m.inside, plugin_dir=plugin_dir, conf_dir=m.cni_conf_dir) for m in (one, two)]
    first = await pods.attach(one, runtimes[0], "pod-1", port_mappings=[HOST_PORT])
    second = await pods.attach(two, runtimes[1], "pod-1")
    said["addresses"] = [str(a) for a in first.addresses]
    said["mesh"] = (await mesh.ping_all([first, second])).count()
    if request.get("hold"):
        print("holding", flush=True)
        await asyncio.Event().wait()

    listener = await start("listener", first.inside("python3", "-c", ANSWER), log=one.disk / "listener.log")
    for _ in range(100):
        asked = await attempt(two.inside("python3", "-c", ASK, str(segment.place(1).ipv4)))
        if asked.code == 0:
            break
        await asyncio.sleep(0.05)
    said["through the host port"] = asked.stdout.strip()
    await listener.process.wait()

    steady = await pods.ping_steadily(first, second.addresses[0])
    await asyncio.sleep(0.3)
    await run(["ip", "link", "set", "to-node-2", "down"])
    await asyncio.sleep(0.5)
    await run(["ip", "link", "set", "to-node-2", "up"])
    await asyncio.sleep(1.5)
    loss = await steady.stop()
    said["steady"] = {"sent": loss.sent, "lost": loss.lost}

    said["host name"] = (await run(one.inside("hostname"))).strip()
    said["host-local leases"] = (await run(one.inside("ls", "/var/lib/cni/networks/by-hand"))).split()
    said["leases on the other"] = (await run(two.inside("ls", "/var/lib/cni/networks/by-hand"))).split()
    said["/etc/passwd is there"] = (await attempt(one.inside("test", "-s", "/etc/passwd"))).code == 0
    await pods.detach(first, runtimes[0])
    said["leases after DEL"] = (await run(one.inside("ls", "/var/lib/cni/networks/by-hand"))).split()
    said["nat rules after DEL"] = (await run(one.inside("iptables", "-t", "nat", "-S"))).count("by-hand")
    said["devices after DEL"] = (await run(one.inside("ip", "-o", "link", "show", "type", "veth"))).count(
        "\n"
    )

    config = conflist(2)
    config["plugins"][0]["ipam"]["ranges"] = [[{"subnet": "10.244.2.0/31"}]]
    (two.cni_conf_dir / "10-by-hand.conflist").write_text(json.dumps(config))
    try:
        await pods.attach(two, runtimes[1], "pod-2")
    except LabError as exc:
        said["refusal"] = str(exc)
    (two.cni_conf_dir / "10-by-hand.conflist").unlink()
    try:
        await pods.attach(two, runtimes[1], "pod-3")
    except LabError as exc:
        said["no conflist"] = str(exc)

    await two.off()
    for _ in range(250):  # the kernel takes a network namespace down in the background
        ports = await run(["ip", "-o", "link", "show", "type", "veth"])
        if "to-node-2" not in ports:
            break
        await asyncio.sleep(0.02)
    said["cables after one machine is off"] = ports.count("\n")
    print(json.dumps(said), flush=True)
    return 0


if __name__ == "__main__":
    main(play)
