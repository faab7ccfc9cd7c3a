"""Files that other programs read, to the letter."""

from __future__ import annotations

from ipaddress import ip_network

from nodeipam_ctl.routing.handover import docker_opts, subnet_env
from tests.routing.views import N1, peer


def test_subnet_env_is_flannels() -> None:
    own = peer("n1", "10.244.1.0/24")
    text = subnet_env(own, (ip_network("10.244.0.0/16"),), 1450, masquerade=True)
    assert text == (
        "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    )


def test_subnet_env_holds_both_families_and_every_range() -> None:
    ranges = (ip_network("10.244.0.0/16"), ip_network("10.250.0.0/16"), ip_network("fd00:244::/48"))
    assert subnet_env(N1, ranges, 1430, masquerade=False) == (
        "FLANNEL_NETWORK=10.244.0.0/16,10.250.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n"
        "FLANNEL_IPV6_NETWORK=fd00:244::/48\nFLANNEL_IPV6_SUBNET=fd00:244:0:1::1/64\n"
        "FLANNEL_MTU=1430\nFLANNEL_IPMASQ=false\n"
    )


def test_docker_masquerades_only_when_we_do_not() -> None:
    own = peer("n1", "10.244.1.0/24")
    assert docker_opts(own, 1450, masquerade=True) == (
        'DOCKER_OPT_BIP="--bip=10.244.1.1/24"\nDOCKER_OPT_IP_MASQ="--ip-masq=false"\nDOCKER_OPT_MTU="--mtu=1450"\n'
        'DOCKER_OPTS=" --bip=10.244.1.1/24 --ip-masq=false --mtu=1450"\n'
    )
