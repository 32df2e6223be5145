"""What a stranger may try at kinlinkd's UDP ports. Each command prints one line of JSON for each thing tried.

stranger.py attempts [{"target": [HOST, PORT], "alpn": ..., "key": ..., "source": ..., "send": HEX, "resume": BOOL}, ...]
stranger.py garbage HOST PORT COUNT SEED
stranger.py flood HOST PORT ALPN COUNT SOURCES
"""

import json
import os
import random
import select
import socket
import sys
import time
from dataclasses import asdict

from aioquic.buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicPacketType, QuicProtocolVersion, encode_long_header_first_byte, pull_quic_header
from quic import Attempt

VERSION = QuicProtocolVersion.VERSION_1
# Bytes of a client's first datagram (RFC 9000 section 14.1).
FIRST = 1200
TAG = 16


def tell(**what):
    print(json.dumps(what), flush=True)


def attempts(listed):
    for wanted in json.loads(listed):
        tell(**asdict(Attempt(**wanted).run()))


def udp(source):
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((source, 0))
    made.setblocking(False)
    return made


def drain(sockets, pause=0.0):
    """What has arrived: (socket, datagram)."""
    for ready in select.select(sockets, [], [], pause)[0]:
        while True:
            try:
                yield ready, ready.recv(65536)
            except BlockingIOError:
                break


def garbage(host, port, count, seed):
    """Random datagrams, some of which look like QUIC's; what comes back for them."""
    dice, stranger = random.Random(int(seed)), udp("127.0.0.67")
    sent = replied = 0
    for _ in range(int(count)):
        datagram = bytearray(dice.randbytes(dice.choice([0, 1, 7, 21, 64, 1199, 1200, 1472])))
        if datagram and dice.random() < 0.8:
            # Any kind of header, and now and then the version that is spoken.
            datagram[0] |= 0x40
            if len(datagram) > 5 and dice.random() < 0.7:
                datagram[1:5] = VERSION.to_bytes(4, "big")
        try:
            sent += stranger.sendto(datagram, (host, int(port)))
        except BlockingIOError:
            continue
        replied += sum(len(reply) for _, reply in drain([stranger]))
    replied += sum(len(reply) for _, reply in drain([stranger], 1.0))
    tell(sent=sent, replied=replied)


class Initials:
    """First packets of handshakes that nobody will go on with: one real ClientHello, sealed again and again."""

    def __init__(self, alpn):
        connection = QuicConnection(configuration=QuicConfiguration(alpn_protocols=[alpn]))
        connection.connect(("127.0.0.1", 1), 0.0)
        datagram = connection.datagrams_to_send(0.0)[0][0]
        buffer = Buffer(data=datagram)
        header = pull_quic_header(buffer)
        keys = CryptoPair()
        keys.setup_initial(header.destination_cid, is_client=False, version=VERSION)
        _, self.hello, _ = keys.decrypt_packet(datagram[: header.packet_length], buffer.tell(), 0)
        self.source = header.source_cid

    def seal(self, destination, token=b""):
        keys = CryptoPair()
        keys.setup_initial(destination, is_client=True, version=VERSION)
        buffer = Buffer(capacity=FIRST)
        buffer.push_uint8(encode_long_header_first_byte(VERSION, QuicPacketType.INITIAL, 1))
        buffer.push_uint32(VERSION)
        for cid in (destination, self.source):
            buffer.push_uint8(len(cid))
            buffer.push_bytes(cid)
        buffer.push_uint_var(len(token))
        buffer.push_bytes(token)
        rest = FIRST - buffer.tell() - 2
        buffer.push_uint16(0x4000 | rest)
        buffer.push_uint16(0)
        # Padding is zeros, at the end of the plaintext.
        plain = self.hello.rstrip(b"\0").ljust(FIRST - buffer.tell() - TAG, b"\0")
        return keys.encrypt_packet(buffer.data, plain, 0)


def flood(host, port, alpn, count, sources):
    """Half-open handshakes from many addresses. Those asked to prove their address do, and go no further."""
    initials, target, count = Initials(alpn), (host, int(port)), int(count)
    sockets = [udp(f"127.2.{number // 250}.{number % 250 + 1}") for number in range(int(sources))]
    counts = {"tried": 0, "proved": 0, "answered": 0}

    def send(stranger, datagram):
        try:
            stranger.sendto(datagram, target)
        except BlockingIOError:
            select.select([], [stranger], [])
            stranger.sendto(datagram, target)

    def answer(pause=0.0):
        for stranger, datagram in drain(sockets, pause):
            header = pull_quic_header(Buffer(data=datagram), 8) if datagram[0] & 0x80 else None
            if header and header.packet_type == QuicPacketType.RETRY:
                counts["proved"] += 1
                send(stranger, initials.seal(header.source_cid, header.token))
            else:
                counts["answered"] += 1

    begun = time.monotonic()
    tell(begun=True)
    for number in range(count):
        send(sockets[number % len(sockets)], initials.seal(os.urandom(8)))
        counts["tried"] += 1
        if number % 25 == 24:
            answer()
    answer(1.0)
    tell(**counts, seconds=time.monotonic() - begun)


if __name__ == "__main__":
    {"attempts": attempts, "garbage": garbage, "flood": flood}[sys.argv[1]](*sys.argv[2:])
