"""nodeipam-ctl: the pod-network control plane. What each package is for stands in docs/architecture.md."""

__version__ = "0.1.0"
