"""An embedded kube-apiserver on a real socket: a test double and a demo that answers like kube-apiserver 1.36.

It says so: everything is in memory, in one process, on loopback unless told otherwise; there is no garbage collector,
no scheduler, no kubelet. What belongs here: how an API server stores, checks and shows objects, and the faults it can
be asked for. What does not: anything about pod networks (that is what the demo runs against it).
"""

from nodeipam_ctl.demo.apiserver.faults import Effect, Fault, Faults
from nodeipam_ctl.demo.apiserver.server import ApiServer
from nodeipam_ctl.demo.apiserver.store import Store

__all__ = ["ApiServer", "Effect", "Fault", "Faults", "Store"]
