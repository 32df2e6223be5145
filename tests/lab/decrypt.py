"""What QUIC carried in a capture, given a key log: connections with their streams, handshakes and closes.

Packets are taken apart with the cryptography of aioquic, frames here (RFC 9000, RFC 9001). Whatever is not understood is
an error: a datagram that belongs to no connection, a packet that does not decrypt, a frame of an unknown type, and bytes
of a stream that were not captured.
"""

import hashlib
import struct

from aioquic.buffer import Buffer
from aioquic.quic.crypto import CryptoContext, CryptoError, CryptoPair, next_key_phase
from aioquic.quic.packet import QuicPacketType, pull_quic_header
from aioquic.tls import CipherSuite, cipher_suite_hash, hkdf_expand_label

# Ports that are nobody's here: multicast DNS, and discard, to which the search for words sends its control.
OTHERS = {5353, 9}
# DER of an Ed25519 key before its 32 bytes (RFC 8410).
SPKI = bytes.fromhex("302a300506032b6570032100")
# The length of the connection ids that quinn makes. Only headers that name none are read by it.
CID = 8
CLIENT, SERVER = "client", "server"
LABELS = {
    (CLIENT, "handshake"): "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    (SERVER, "handshake"): "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    (CLIENT, "data"): "CLIENT_TRAFFIC_SECRET_0",
    (SERVER, "data"): "SERVER_TRAFFIC_SECRET_0",
}
SPACES = {QuicPacketType.INITIAL: "initial", QuicPacketType.HANDSHAKE: "handshake", QuicPacketType.ONE_RTT: "data"}


def datagrams(file):
    """The payloads of all UDP datagrams of a file in the format of pcap, but those to the ports of others."""
    with open(file, "rb") as opened:
        data = opened.read()
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}[data[:4]]
    assert struct.unpack(order + "I", data[20:24]) == (1,), "not Ethernet"
    at = 24
    while at < len(data):
        (length,) = struct.unpack(order + "I", data[at + 8 : at + 12])
        udp = udp_of(data[at + 16 : at + 16 + length])
        at += 16 + length
        if udp and not OTHERS & set(struct.unpack(">HH", udp[:4])):
            yield udp[8 : struct.unpack(">H", udp[4:6])[0]]


def udp_of(frame):
    kind, packet = frame[12:14], frame[14:]
    if kind == b"\x08\x00" and packet[9] == 17:
        return packet[(packet[0] & 15) * 4 :]
    if kind == b"\x86\xdd" and packet[6] == 17:
        return packet[40:]
    return None


class Stream:
    """Bytes that come in pieces, and more than once."""

    def __init__(self):
        self.pieces, self.size, self.reset = {}, None, False

    def add(self, offset, data, fin=False):
        if len(data) > len(self.pieces.get(offset, b"")):
            self.pieces[offset] = data
        if fin:
            self.size = offset + len(data)

    def bytes(self):
        """All from the beginning to the first gap."""
        whole = bytearray()
        for offset, data in sorted(self.pieces.items()):
            if offset > len(whole):
                break
            whole[offset : offset + len(data)] = data
        return bytes(whole)

    def end(self):
        """Where it ends, as far as it was sent."""
        return max((offset + len(data) for offset, data in self.pieces.items()), default=0)


class Connection:
    def __init__(self, number, secrets):
        self.number, self.log = number, secrets
        self.initial = {}
        self.contexts, self.previous, self.largest = {}, {}, {}
        # (who sends, space) to the handshake's bytes; (who sends, id) to those of streams.
        self.crypto, self.streams = {}, {}
        self.closes = []
        # Packets that overtook the ServerHello.
        self.early = []
        self.random = self.suite = None

    def secret(self, label):
        return self.log[(label, self.random)]

    def exporter(self, label):
        """RFC 8446 section 7.5, without a context."""
        algorithm = cipher_suite_hash(self.suite)
        empty = hashlib.new(algorithm.name, b"").digest()
        derived = hkdf_expand_label(algorithm, self.secret("EXPORTER_SECRET"), label, empty, algorithm.digest_size)
        return hkdf_expand_label(algorithm, derived, b"exporter", empty, 32)

    def context(self, sender, space):
        if (sender, space) not in self.contexts:
            context = CryptoContext()
            context.setup(cipher_suite=self.suite, secret=self.secret(LABELS[sender, space]), version=1)
            self.contexts[sender, space] = context
        return self.contexts[sender, space]

    def decrypt(self, sender, space, packet, offset):
        context = self.context(sender, space)
        expected = self.largest.get((sender, space), -1) + 1
        try:
            _, payload, number, updated = context.decrypt_packet(packet, offset, expected)
        except CryptoError:
            # One that was overtaken by an update of the keys.
            _, payload, number, updated = *self.previous[sender].decrypt_packet(packet, offset, expected)[:3], False
        if updated:
            following = next_key_phase(context)
            self.previous[sender] = CryptoContext(key_phase=context.key_phase)
            for name in ("aead", "cipher_suite", "hp", "secret", "version"):
                setattr(self.previous[sender], name, getattr(context, name))
            context.aead, context.secret, context.key_phase = following.aead, following.secret, following.key_phase
        self.largest[sender, space] = max(expected - 1, number)
        return payload

    def handshake(self, sender, space, offset, data):
        stream = self.crypto.setdefault((sender, space), Stream())
        stream.add(offset, data)
        if space != "initial" or self.suite:
            return
        for sender in (CLIENT, SERVER):
            for kind, body in messages(self.crypto.get((sender, space), Stream()).bytes()):
                if kind == 1:
                    self.random = body[2:34]
                if kind == 2:
                    self.suite = CipherSuite(struct.unpack(">H", body[35 + body[34] :][:2])[0])

    def hello(self, sender):
        """The extensions of ClientHello, or of EncryptedExtensions."""
        space, kind = {CLIENT: ("initial", 1), SERVER: ("handshake", 8)}[sender]
        body = dict(messages(self.crypto[sender, space].bytes()))[kind]
        if sender == CLIENT:
            at = 35 + body[34]
            at += 2 + struct.unpack(">H", body[at : at + 2])[0]
            body = body[at + 1 + body[at] :]
        found, at = {}, 2
        while at < len(body):
            kind, length = struct.unpack(">HH", body[at : at + 4])
            found[kind] = body[at + 4 : at + 4 + length]
            at += 4 + length
        return found

    def alpn(self):
        """What was agreed on; one name is offered, and that one."""
        offered, taken = (self.hello(sender)[16] for sender in (CLIENT, SERVER))
        assert offered == taken and offered[2] == len(offered) - 3, (offered, taken)
        return offered[3:].decode()

    def device(self, sender):
        """The key in the certificate that it showed, if it got that far."""
        sent = self.crypto.get((sender, "handshake"), Stream()).bytes()
        certificate = dict(messages(sent)).get(11, b"")
        return certificate.partition(SPKI)[2][:32] or None


def messages(data):
    """Whole handshake messages: type and body."""
    at = 0
    while at + 4 <= len(data) and at + 4 + int.from_bytes(data[at + 1 : at + 4]) <= len(data):
        length = int.from_bytes(data[at + 1 : at + 4])
        yield data[at], data[at + 4 : at + 4 + length]
        at += 4 + length


class Capture:
    """All connections of a capture, in the order of their beginning."""

    def __init__(self, file, keys):
        self.secrets = {}
        with open(keys) as opened:
            for line in opened:
                label, random, secret = line.split()
                self.secrets[label, bytes.fromhex(random)] = bytes.fromhex(secret)
        self.connections = []
        # Connection id to the connection, and who sends to it.
        self.ids, self.tokens = {}, set()
        self.strangers = []
        for datagram in datagrams(file):
            self.datagram(datagram)

    def datagram(self, data):
        start = end = 0
        while end < len(data):
            start = end
            if data[start] & 0x80 and data[start + 1 : start + 5] != b"\0\0\0\1":
                self.strangers.append(data[start:])
                return
            # The fixed bit may be either (RFC 9287), which aioquic does not know.
            buffer = Buffer(data=bytes([data[start] | 0x40]) + data[start + 1 :])
            header = pull_quic_header(buffer, host_cid_length=CID)
            offset, end = buffer.tell(), start + header.packet_length
            if header.packet_type == QuicPacketType.RETRY:
                continue
            connection, sender = self.find(header)
            if connection is None:
                # A reset of a connection that its sender has forgotten (RFC 9000 section 10.3), or nothing of ours.
                if data[-16:] not in self.tokens:
                    self.strangers.append(data[start:])
                return
            self.packet(connection, sender, SPACES[header.packet_type], header, data[start:end], offset)

    def find(self, header):
        if header.packet_type == QuicPacketType.INITIAL and header.destination_cid not in self.ids:
            # The first of a connection, or the first after a Retry, which is another one to us.
            connection = Connection(len(self.connections), self.secrets)
            self.connections.append(connection)
            pair = CryptoPair()
            pair.setup_initial(header.destination_cid, is_client=True, version=1)
            connection.contexts = {(CLIENT, "initial"): pair.send, (SERVER, "initial"): pair.recv}
            self.ids[header.destination_cid] = (connection, CLIENT)
        return self.ids.get(header.destination_cid, (None, None))

    def packet(self, connection, sender, space, header, packet, offset):
        if header.source_cid:
            self.ids[header.source_cid] = (connection, SERVER if sender == CLIENT else CLIENT)
        if space != "initial" and not connection.suite:
            connection.early.append((sender, space, header, packet, offset))
            return
        payload = connection.decrypt(sender, space, packet, offset)
        buffer = Buffer(data=payload)
        while not buffer.eof():
            self.frame(connection, sender, space, buffer)
        if connection.suite and connection.early:
            early, connection.early = connection.early, []
            for overtook in early:
                self.packet(connection, *overtook)

    def frame(self, connection, sender, space, buffer):
        kind = buffer.pull_uint_var()
        if kind in (0x00, 0x01, 0x1E, 0x1F):
            return
        if kind in (0x02, 0x03):
            _, _, ranges, _ = (buffer.pull_uint_var() for _ in range(4))
            for _ in range(2 * ranges + 3 * (kind & 1)):
                buffer.pull_uint_var()
        elif kind == 0x06:
            offset, length = buffer.pull_uint_var(), buffer.pull_uint_var()
            connection.handshake(sender, space, offset, buffer.pull_bytes(length))
        elif 0x08 <= kind <= 0x0F:
            self.stream(connection, sender, kind, buffer)
        elif kind == 0x18:
            buffer.pull_uint_var(), buffer.pull_uint_var()
            cid = buffer.pull_bytes(buffer.pull_uint8())
            self.ids[cid] = (connection, SERVER if sender == CLIENT else CLIENT)
            self.tokens.add(buffer.pull_bytes(16))
        elif kind in (0x1C, 0x1D):
            code = buffer.pull_uint_var()
            if kind == 0x1C:
                buffer.pull_uint_var()
            reason = buffer.pull_bytes(buffer.pull_uint_var())
            if (sender, kind, code, reason) not in connection.closes:
                connection.closes.append((sender, kind, code, reason))
        elif kind in (0x1A, 0x1B):
            buffer.pull_bytes(8)
        elif kind == 0x07:
            raise AssertionError("a token for connections to come")
        else:
            # RESET_STREAM, STOP_SENDING, MAX_DATA, MAX_STREAM_DATA, MAX_STREAMS, and their BLOCKED.
            fields = {4: 3, 5: 2, 0x10: 1, 0x11: 2, 0x12: 1, 0x13: 1, 0x14: 1, 0x15: 2, 0x16: 1, 0x17: 1, 0x19: 1}
            values = [buffer.pull_uint_var() for _ in range(fields[kind])]
            if kind == 4:
                connection.streams.setdefault((sender, values[0]), Stream()).reset = True

    def stream(self, connection, sender, kind, buffer):
        number = buffer.pull_uint_var()
        offset = buffer.pull_uint_var() if kind & 4 else 0
        length = buffer.pull_uint_var() if kind & 2 else buffer.capacity - buffer.tell()
        if (sender, number) not in connection.streams:
            connection.streams[sender, number] = Stream()
        connection.streams[sender, number].add(offset, buffer.pull_bytes(length), bool(kind & 1))
