"""Somebody on the local network who abuses Multicast DNS. It runs on a host that has eth0.

announcer.py record                   prints what devices announce: {"from": HOST, "packet": HEX} each time
announcer.py repeat PACKET COUNT      sends a recorded packet again and again, as fast as it can
announcer.py flood PACKET SEED        sends made-up and malformed ones until it is killed, as fast as it can
"""

import itertools
import json
import random
import re
import socket
import struct
import sys

GROUP, PORT = "224.0.0.251", 5353
SERVICE = b"\x08_kinlink\x04_udp\x05local\0"
# The seconds for which a text is good; one that is taken back has none.
TTL = (4500).to_bytes(4, "big")
# A string of 235 bytes that begins so, and ends with 233 sealed ones.
SEALED = re.compile(rb"\xebs=(.{233})", re.DOTALL)
# Random names.
LABEL = re.compile(rb"\x1a([a-z2-7]{26})")
# How many different packets there are in a flood.
DIFFERENT = 4096


def group():
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("", PORT))
    interface = struct.pack("4s4si", socket.inet_aton(GROUP), bytes(4), socket.if_nametoindex("eth0"))
    made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, interface)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
    return made


def record():
    listener = group()
    print(json.dumps("listening"), flush=True)
    while True:
        packet, (host, _) = listener.recvfrom(9000)
        if SERVICE in packet and SEALED.search(packet) and TTL in packet:
            print(json.dumps({"from": host, "packet": packet.hex()}), flush=True)


def repeat(packet, count):
    sender, packet = group(), bytes.fromhex(packet)
    for _ in range(int(count)):
        sender.sendto(packet, (GROUP, PORT))


def foreign(packet, dice):
    """As a device of another account would say it."""
    names = {}
    packet = SEALED.sub(lambda _: b"\xebs=" + dice.randbytes(233), packet)
    return LABEL.sub(lambda name: names.setdefault(name[1], b"\x1a" + letters(dice, 26)), packet)


def letters(dice, count):
    return bytes(dice.choices(b"abcdefghijklmnopqrstuvwxyz234567", k=count))


def header(questions, answers, response=True):
    return struct.pack("!6H", 0, 0x8400 if response else 0, questions, answers, 0, 0)


def record_of(name, kind, data):
    return name + struct.pack("!HHIH", kind, 1, 4500, len(data)) + data


def malformed(packet, dice):
    """One of many ways to be wrong."""
    point = lambda to: struct.pack("!H", 0xC000 | to)
    match dice.randrange(8):
        case 0:
            return packet[: dice.randrange(len(packet))]
        case 1:
            damaged = bytearray(packet)
            for _ in range(dice.randrange(1, 20)):
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
            return bytes(damaged)
        case 2:
            # A name that is itself, one that leads to the next and back, one that leads behind the end.
            return header(0, 1) + dice.choice([point(12), point(14) + point(12), point(9000)]) + bytes(10)
        case 3:
            return header(0, 1) + record_of(b"\x01a" * 200 + b"\0", 16, b"")
        case 4:
            # A chain of pointers, each to the one before.
            chain = b"\0\0" + b"".join(point(12 + 2 * at) for at in range(500))
            return header(0, 2) + record_of(chain, 12, point(12 + len(chain) - 2))
        case 5:
            return header(0xFFFF, 0xFFFF, dice.random() < 0.5) + packet[12:]
        case 6:
            return header(0, 1) + record_of(SERVICE, 16, b"\xff" + dice.randbytes(9))
        case _:
            return dice.randbytes(dice.randrange(9000))


def query(dice):
    return header(1, 0, response=False) + SERVICE + struct.pack("!HH", dice.choice([12, 255, 16]), 1)


def flood(packet, seed):
    sender, packet, dice = group(), bytes.fromhex(packet), random.Random(int(seed))
    kinds = [foreign, foreign, malformed, lambda _, dice: query(dice)]
    packets = [dice.choice(kinds)(packet, dice) for _ in range(DIFFERENT)]
    print(json.dumps("flooding"), flush=True)
    for packet in itertools.cycle(packets):
        try:
            sender.sendto(packet, (GROUP, PORT))
        except OSError:
            # The interface has no room at the moment.
            pass


if __name__ == "__main__":
    {"record": record, "repeat": repeat, "flood": flood}[sys.argv[1]](*sys.argv[2:])
