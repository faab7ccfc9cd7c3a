"""The demo: the whole product on one machine, in namespaces that vanish with their process.

Belongs here: what plays the world around the product: API server, kubelets, a network, pods, and the story told with them.
Does not belong here: anything the product needs in a cluster; nothing imports this package but `cli/demo.py` and tests.

Reading order: `sandbox` (how it touches nothing of the host), `machines` and `segment` (nodes and the wire between them),
`cni` and `pods` (the real plug-ins), `kubelet`, `lab` (all of it wired up), `story` (what is shown), `report` (how it is printed).
"""
