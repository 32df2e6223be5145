"""Takes everything that kinlinkd said to others apart, given a capture and a key log, and holds it against PROTOCOL.md.

frames.py CAPTURE KEYS FACTS WORD...

FACTS is JSON: "account", its id; "challenges", their copied texts; "codes", all codes that were shown, in order. Lists
what was there, one a line; then "word: " and each WORD that stands in the streams. What PROTOCOL.md does not allow fails.
"""

import json
import sys
from collections import Counter

import needles
from decrypt import CLIENT, SERVER, Capture
from protocol import CRITICAL, H, Account, Challenge, Reader, ascending, mac, offered, verify, within

SYNC, LINK = "kinlink/1", "kinlink-link/1"
OTHER = {CLIENT: SERVER, SERVER: CLIENT}
FRAMES = {
    0x8101: "Claim", 0x8102: "Offer", 0x8103: "Accept", 0x8104: "WrongCode", 0x8105: "Recommit", 0x8106: "Nonce",
    0x8107: "Open", 0x8108: "Linked", 0x8109: "Done", 0x810A: "Refused to link", 0x810B: "Cancel",
    0x8201: "Hello", 0x8202: "Statements", 0x8203: "Epochs", 0x8204: "Reports", 0x8205: "Want", 0x8206: "Journal",
    0x8207: "Have", 0x8208: "Revoked", 0x820A: "Refused", 0x820B: "Introduction", 0x820C: "Ping", 0x820D: "Pong",
    0x8210: "TransferHeader", 0x8211: "Segment",
}  # fmt: skip
# Linking: which frame another one follows. Each side waits for the other, so there is one order.
AFTER = {0x8102: 0x8101, 0x8103: 0x8102, 0x8104: 0x8103, 0x8105: 0x8104, 0x8106: 0x8105, 0x8107: 0x8106}
# The codes of section 11.
CODES = {*range(9), *range(16, 31)}


def frames(stream, most):
    """The frames of a stream, (type, body); one that was cut off by the end of the connection is left out."""
    data = stream.bytes()
    assert len(data) == stream.end() or stream.reset, "a part of a stream was not captured"
    reader = Reader(data)
    while len(data) - reader.at >= 6:
        kind, length = reader.u16(), reader.u32()
        within(length, most, f"the length of a frame of type {kind:#x}")
        if len(data) - reader.at < length:
            break
        yield kind, reader.b(length)
    else:
        if reader.at == len(data):
            return
    assert stream.size is None, "a stream ends within a frame"


class Checker:
    def __init__(self, capture, facts):
        self.capture, self.account, self.id = capture, Account(), bytes.fromhex(facts["account"])
        self.challenges = {challenge.id: challenge for challenge in map(Challenge, facts["challenges"])}
        self.codes, self.shown = facts["codes"], []
        self.seen, self.transfers = Counter(), []

    def check(self):
        assert not self.capture.strangers, f"{len(self.capture.strangers)} datagrams belong to no connection"
        talked = [connection for connection in self.capture.connections if connection.streams]
        # What an account's objects name was said while linking: that first.
        for connection in sorted(talked, key=lambda c: c.alpn() != LINK):
            {LINK: self.linking, SYNC: self.sync}[connection.alpn()](connection)
        for connection in self.capture.connections:
            self.closes(connection)
        self.account.complete()
        self.seen["roots that operations lead to"] = self.account.trees(self.transfers)
        assert self.codes and self.codes == self.shown, f"codes {self.shown} follow from what was said, {self.codes} were shown"
        for kind in self.account.actions:
            self.seen[f"action {kind:#06x}"] += 1

    def closes(self, connection):
        for _, kind, code, reason in connection.closes:
            if kind == 0x1D:
                assert code in CODES and reason.isascii() and len(reason) <= 64, (code, reason)
                self.seen[f"closed with {code}"] += 1

    def count(self, kind):
        assert kind in FRAMES, f"a frame of type {kind:#x}"
        self.seen[FRAMES[kind]] += 1
        return FRAMES[kind]

    def linking(self, connection):
        self.seen[LINK] += 1
        assert set(connection.streams) <= {(CLIENT, 0), (SERVER, 0)}, connection.streams.keys()
        said = [
            (sender, kind, body)
            for sender, most in ((CLIENT, 8 << 10), (SERVER, 4 << 20))
            if (sender, 0) in connection.streams
            for kind, body in frames(connection.streams[sender, 0], most)
        ]
        Linking(self, connection).check(said)

    def sync(self, connection):
        self.seen[SYNC] += 1
        for (sender, number), stream in connection.streams.items():
            if number & 2:
                assert number & 1 == (sender == SERVER)
                self.transfer(stream)
            else:
                assert number == 0, f"stream {number} beside the control stream"
        for sender in (CLIENT, SERVER):
            if (sender, 0) in connection.streams:
                self.control(connection, sender, list(frames(connection.streams[sender, 0], 1 << 20)))

    def transfer(self, stream):
        transfer = None
        for kind, body in frames(stream, 6 << 20):
            name = self.count(kind)
            if transfer is None:
                assert name == "TransferHeader", f"{name} begins a transfer"
                transfer = self.account.transfer(body)
                self.transfers.append(transfer)
            else:
                assert name == "Segment", f"{name} in a transfer"
                self.account.segment(body, transfer)
        if transfer and stream.size is not None and not stream.reset:
            assert transfer["at"] == transfer["size"], "a transfer ends early"

    def control(self, connection, sender, said):
        names = [self.count(kind) for kind, _ in said]
        if "Hello" in names:
            # Only what introduces may stand before.
            assert names.index("Hello") == names.index("Introduction") + 2 if "Introduction" in names else not names.index("Hello")
            assert names.count("Hello") == 1
        elif names:
            assert names[0] in ("Introduction", "Revoked", "Refused"), f"{names} without a Hello"
        for name, (_, body) in zip(names, said):
            reader = Reader(body)
            getattr(self, "on_" + name.lower())(reader, connection, sender)
            reader.end()

    def on_hello(self, reader, connection, sender):
        assert reader.u16() == 1 and reader.b32() == self.account.id
        reader.b16(), reader.u64()
        reader.n8(reader.position)
        reader.n16(lambda: offered(reader), 4096)
        reader.n8(lambda: (reader.b32(), reader.u64()))
        self.account.named.update(reader.n16(reader.b32, 4096))
        reader.ext()

    def on_statements(self, reader, connection, sender):
        for statement in reader.objects(8192):
            self.account.statement(statement)

    def on_revoked(self, reader, connection, sender):
        self.on_statements(reader, connection, sender)
        peers = {connection.device(CLIENT), connection.device(SERVER)}
        assert peers & set(self.account.revoked), "nobody here is revoked"

    def on_epochs(self, reader, connection, sender):
        for sealed in reader.objects(8192):
            _, recipient = self.account.sealed(sealed)
            assert recipient == connection.device(OTHER[sender]), "sealed to somebody else"
        for history in reader.objects(8192):
            self.account.history(history)

    def on_reports(self, reader, connection, sender):
        for report in reader.objects(8192):
            self.account.report(report)

    def on_want(self, reader, connection, sender):
        reader.n16(lambda: (reader.b32(), reader.u32(), reader.u64()), 4096)

    def on_journal(self, reader, connection, sender):
        transfer = self.account.transfer(reader.v32())
        self.transfers.append(transfer)
        for segment in reader.objects(65535):
            self.account.segment(segment, transfer)
        assert transfer["at"] == transfer["size"], "a range that is not whole"

    def on_have(self, reader, connection, sender):
        reader.n16(lambda: offered(reader), 4096)
        reader.n8(reader.position)
        reader.n8(lambda: (reader.b32(), reader.u64()))
        self.account.named.update(reader.n16(reader.b32, 4096))
        # Who joined, who was lost.
        reader.n8(reader.b32)
        reader.n8(reader.b32)

    def on_refused(self, reader, connection, sender):
        assert reader.u16() in CODES

    def on_introduction(self, reader, connection, sender):
        macs = ascending(reader.n8(lambda: (reader.b32(), reader.b32()), 64), lambda pair: pair[0])
        assert macs
        self.account.named.update(epoch for epoch, _ in macs)
        reader.ext()

    def on_ping(self, reader, connection, sender):
        reader.u64()

    on_pong = on_ping


class Linking:
    """One connection that links: section 4."""

    def __init__(self, checker, connection):
        self.checker, self.account = checker, checker.account
        self.exporter = connection.exporter(b"EXPORTER-kinlink-link-1")
        self.shower, self.joiner = connection.device(SERVER), connection.device(CLIENT)
        self.nonces, self.tries = {}, 0

    def check(self, said):
        of = {sender: [(kind, body) for by, kind, body in said if by == sender] for sender in (CLIENT, SERVER)}
        allowed = {CLIENT: {0x8101, 0x8103, 0x8105, 0x8107, 0x8109}, SERVER: {0x8102, 0x8104, 0x8106, 0x8108}}
        for sender, list_ in of.items():
            for kind, body in list_:
                assert kind in allowed[sender] | {0x810A, 0x810B}, f"{kind:#x} from the {sender}"
        bodies = {}
        for kind, body in self.ordered(of):
            self.checker.count(kind)
            assert kind not in AFTER or AFTER[kind] in bodies, f"{kind:#x} out of order"
            bodies[kind] = body
            reader = Reader(body)
            getattr(self, f"on_{kind:04x}", self.empty)(reader)
            reader.end()
            self.transcript(bodies)

    def ordered(self, of):
        """Both sides' frames in the order in which one must follow the other."""
        queues = {sender: list(list_) for sender, list_ in of.items()}
        last = None
        while any(queues.values()):
            ready = [
                sender for sender in (CLIENT, SERVER)
                if queues[sender] and AFTER.get(queues[sender][0][0], last) == last
            ]  # fmt: skip
            # After a code was opened, the shower judges it; nothing of the joiner is waited for.
            ready += [SERVER] if queues[SERVER] and last == 0x8107 and queues[SERVER][0][0] == 0x8104 else []
            sender = ready[0] if ready else (SERVER if queues[SERVER] else CLIENT)
            if queues[sender][0][0] == 0x8109 and queues[SERVER]:
                sender = SERVER
            kind, body = queues[sender].pop(0)
            last = kind
            yield kind, body

    def transcript(self, bodies):
        """The code, as soon as both nonces of a try are known."""
        if len(self.nonces) == 2 and 0x8103 in bodies:
            whole = H("link transcript", self.exporter, *(bodies[kind] for kind in (0x8101, 0x8102)))
            hash = H("code", whole, self.nonces.pop("S"), self.nonces.pop("J"), bytes([self.tries]))
            self.checker.shown.append(f"{int.from_bytes(hash[:8]) % 10**6:06}")

    def empty(self, reader):
        """Done and Cancel say nothing more."""

    def on_8101(self, reader):
        id, self.commitment, proof = reader.b32(), reader.b32(), reader.b32()
        self.challenge = challenge = self.checker.challenges[id]
        assert challenge.shower == self.shower
        about = (self.exporter, self.shower, self.joiner, bytes([challenge.role, challenge.custody]), self.commitment)
        assert mac(challenge.key, "claim", *about) == proof, "the claim proves nothing"
        reader.ext()

    def on_8102(self, reader):
        self.nonces["S"] = reader.b32()
        self.offered = reader.b32()
        reader.t8(), reader.t8(), reader.t8()
        self.role, self.custody = reader.u8(), reader.u8()
        assert (self.role, self.custody) == (self.challenge.role, self.challenge.custody)
        reader.u32()
        statements = reader.objects(20_000)
        reader.addresses(), reader.ext()
        told = self.exporter + self.challenge.id + self.joiner + reader.before()
        verify(self.shower, "offer", told, reader.b(64))
        # A genesis that was never committed is no account.
        account = self.account if self.offered == self.checker.id else Account()
        for statement in statements:
            account.statement(statement)
        assert account.id == self.offered

    def on_8103(self, reader):
        self.open(reader)
        hpke, name, platform, replaces = reader.b(1216), reader.t8(), reader.t8(), reader.b32()
        assert name and platform and replaces == bytes(32)
        reader.ext()
        told = self.offered + self.joiner + hpke + bytes([self.role, self.custody]) + self.challenge.id
        self.consent = reader.b(64)
        verify(self.joiner, "consent", told, self.consent)

    def open(self, reader):
        self.nonces["J"] = reader.b32()
        assert H("commit", self.nonces["J"], self.joiner) == self.commitment, "not the nonce committed to"

    def on_8104(self, reader):
        self.tries += 1
        assert reader.u8() == 3 - self.tries

    def on_8105(self, reader):
        self.commitment = reader.b32()

    def on_8106(self, reader):
        self.nonces["S"] = reader.b32()

    on_8107 = open

    def on_8108(self, reader):
        for statement in reader.objects(20_000):
            self.account.statement(statement)
        assert self.account.links[self.joiner][1:] == (self.role, self.custody, self.challenge.id, self.consent)
        for sealed in reader.objects(8192):
            assert self.account.sealed(sealed)[1] == self.joiner
        for history in reader.objects(8192):
            self.account.history(history)
        for report in reader.objects(8192):
            self.account.report(report)
        reader.addresses(), reader.ext()

    def on_810a(self, reader):
        assert reader.u16() in CODES


if __name__ == "__main__":
    capture = Capture(sys.argv[1], sys.argv[2])
    with open(sys.argv[3]) as opened:
        checker = Checker(capture, json.load(opened))
    checker.check()
    for what, count in sorted(checker.seen.items()):
        print(f"{what}: {count}")
    said = b"\n".join(stream.bytes() for c in capture.connections for stream in c.streams.values())
    for form, word in needles.search(said, sys.argv[4:]):
        print(f"word: {word} ({form})")
