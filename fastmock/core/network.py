"""Addresses of hosts."""

from ipaddress import ip_address


def is_loopback(address: str, names: bool = False) -> bool:
    """Return whether an address, with or without a port, is a loopback address.

    ``names``: accept ``localhost`` and names that end with ``.localhost`` too.
    """
    host = address.rpartition("]")[0].lstrip("[") or (address if address.count(":") > 1 else address.partition(":")[0])
    if names and (host.lower() == "localhost" or host.lower().endswith(".localhost")):
        return True
    try:
        parsed = ip_address(host)
    except ValueError:
        return False
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback
