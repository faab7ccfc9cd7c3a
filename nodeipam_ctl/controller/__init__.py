"""The controller program: nodes and ClusterCIDRs in, podCIDRs, status and events out."""
