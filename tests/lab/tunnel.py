"""A tunnel: a point-to-point interface in each of two network namespaces, and what passes between them.

tunnel.py INTERFACE NAMESPACE NAMESPACE

Says "laid" once both are there. They are gone when it ends, which it does when its input is closed.
"""

import ctypes
import fcntl
import os
import select
import struct
import sys

# linux/if_tun.h, linux/sched.h
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def enter(space):
    with open(space, "rb") as file:
        if LIBC.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), space)


def end(interface, space):
    """One end of the tunnel: packets are read from it and written to it, one at a time."""
    enter(f"/run/netns/{space}")
    made = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(made, TUNSETIFF, struct.pack("16sH22x", interface.encode(), IFF_TUN | IFF_NO_PI))
    return made


def carry(source, target):
    while True:
        try:
            os.write(target, os.read(source, 65536))
        except OSError:
            # There is no more, or one end is down and the packet is lost.
            return


def main(interface, *spaces):
    one, other = (end(interface, space) for space in spaces)
    print("laid", flush=True)
    while True:
        ready, _, _ = select.select([one, other, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        for source in ready:
            carry(source, other if source == one else one)


if __name__ == "__main__":
    main(*sys.argv[1:])
