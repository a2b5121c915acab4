"""Groups about sockets. Where a connection may go is no matter of these, but of the network that the box has.

Kinds of sockets are listed, because each kind is its own large piece of the kernel. Options are listed as well: some of
those left out load programs into the kernel (SO_ATTACH_BPF), or modules (TCP_ULP).
"""

from __future__ import annotations

from stockade.policy.group_rows.table import Group, allow, equal, masked, one_of

# What is left of a socket's type without SOCK_NONBLOCK and SOCK_CLOEXEC (SOCK_TYPE_MASK of linux/net.h).
_TYPE = "0xf"
_INET = ("AF_INET", "AF_INET6")

_SOCKET_OPTIONS = (
    "SO_REUSEADDR",
    "SO_REUSEPORT",
    "SO_KEEPALIVE",
    "SO_BROADCAST",
    "SO_OOBINLINE",
    "SO_LINGER",
    "SO_SNDBUF",
    "SO_RCVBUF",
    "SO_RCVLOWAT",
    "SO_RCVTIMEO",
    "SO_SNDTIMEO",
    "SO_PASSCRED",
)
_TCP_OPTIONS = (
    "TCP_NODELAY",
    "TCP_CORK",
    "TCP_KEEPIDLE",
    "TCP_KEEPINTVL",
    "TCP_KEEPCNT",
    "TCP_DEFER_ACCEPT",
    "TCP_QUICKACK",
    "TCP_USER_TIMEOUT",
    "TCP_NOTSENT_LOWAT",
)
_IP_OPTIONS = ("IP_TOS", "IP_TTL", "IP_PKTINFO", "IP_MTU_DISCOVER", "IP_RECVERR", "IP_BIND_ADDRESS_NO_PORT")
_IPV6_OPTIONS = (
    "IPV6_V6ONLY",
    "IPV6_UNICAST_HOPS",
    "IPV6_MTU_DISCOVER",
    "IPV6_RECVERR",
    "IPV6_RECVPKTINFO",
    "IPV6_TCLASS",
)

GROUPS = (
    Group(
        "inet_sockets",
        "Make TCP and UDP sockets, of IPv4 and IPv6.",
        (
            # Protocol 0 is the usual one of the type. Others, such as MPTCP and SCTP, are code of their own.
            allow("socket", one_of(0, *_INET), masked(1, _TYPE, "SOCK_STREAM"), one_of(2, "0", "IPPROTO_TCP")),
            allow("socket", one_of(0, *_INET), masked(1, _TYPE, "SOCK_DGRAM"), one_of(2, "0", "IPPROTO_UDP")),
        ),
    ),
    Group(
        "unix_sockets",
        "Make sockets, and connected pairs of them, for talking within the machine.",
        tuple(
            allow("socket socketpair", equal(0, "AF_UNIX"), masked(1, _TYPE, kind))
            for kind in ("SOCK_STREAM", "SOCK_DGRAM", "SOCK_SEQPACKET")
        ),
    ),
    Group("connect", "Connect sockets.", (allow("connect"),)),
    Group("listen", "Give sockets an address, listen, and accept connections.", (allow("bind listen accept accept4"),)),
    Group(
        "socket_data",
        "Send and receive through sockets, descriptors too, and shut connections down.",
        (allow("sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg shutdown"),),
    ),
    Group(
        "socket_options",
        "Ask for names and options of sockets, and set the usual options.",
        (
            allow("getsockname getpeername"),
            allow("getsockopt", one_of(1, "SOL_SOCKET", "SOL_TCP", "SOL_IP", "SOL_IPV6", "SOL_UDP")),
            allow("setsockopt", equal(1, "SOL_SOCKET"), one_of(2, *_SOCKET_OPTIONS)),
            allow("setsockopt", equal(1, "SOL_TCP"), one_of(2, *_TCP_OPTIONS)),
            allow("setsockopt", equal(1, "SOL_IP"), one_of(2, *_IP_OPTIONS)),
            allow("setsockopt", equal(1, "SOL_IPV6"), one_of(2, *_IPV6_OPTIONS)),
        ),
    ),
)
