"""Arguments of the calls on sockets. Format: see the package."""

from __future__ import annotations

TEXT = """
accept(fd sockfd, *sockaddr addr, *int addrlen)
accept4(fd sockfd, *sockaddr addr, *int addrlen, socket_flags flags)
bind(fd sockfd, sockaddr addr, length addrlen)
connect(fd sockfd, sockaddr addr, length addrlen)
getpeername(fd sockfd, *sockaddr addr, *int addrlen)
getsockname(fd sockfd, *sockaddr addr, *int addrlen)
getsockopt(fd sockfd, socket_level level, socket_option optname, data optval, *int optlen)
listen(fd sockfd, int backlog)
recvfrom(fd sockfd, data buf, size length, msg_flags flags, *sockaddr src_addr, *int addrlen)
recvmmsg(fd sockfd, *mmsghdr msgvec, count vlen, msg_flags flags, *timespec timeout)
recvmsg(fd sockfd, *msghdr msg, msg_flags flags)
sendmmsg(fd sockfd, *mmsghdr msgvec, count vlen, msg_flags flags)
sendmsg(fd sockfd, *msghdr msg, msg_flags flags)
sendto(fd sockfd, const_data buf, size length, msg_flags flags, sockaddr dest_addr, length addrlen)
setsockopt(fd sockfd, socket_level level, socket_option optname, const_data optval, length optlen)
shutdown(fd sockfd, shutdown_how how)
socket(socket_domain domain, socket_type type, socket_protocol protocol)
socketpair(socket_domain domain, socket_type type, socket_protocol protocol, *fd_pair sv)
"""
