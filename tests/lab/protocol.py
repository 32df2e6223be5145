"""Reads what PROTOCOL.md describes, written from that text alone: values, objects, and the body of every frame.

Everything is checked that can be without the account's keys: lengths, order, signatures, hashes. A reader raises
AssertionError at the first byte that the text does not allow.
"""

import base64
import hashlib
import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CRITICAL = 0x8000


def label(text):
    name = f"kinlink/1 {text}".encode()
    return bytes([len(name)]) + name


def H(text, *parts):
    return hashlib.sha256(label(text) + b"".join(parts)).digest()


def kdf(secret, salt, info, *parts):
    return HKDF(SHA256(), 32, salt, label(info) + b"".join(parts)).derive(secret)


def mac(key, text, *parts):
    return hmac.new(key, label(text) + b"".join(parts), "sha256").digest()


def verify(key, text, message, signature):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, label(text) + message)
    except InvalidSignature:
        raise AssertionError(f"the signature {text!r} does not hold") from None


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def b(self, length):
        assert self.at + length <= len(self.data), f"{length} bytes wanted at {self.at} of {len(self.data)}"
        self.at += length
        return self.data[self.at - length : self.at]

    def u8(self):
        return self.b(1)[0]

    def u16(self):
        return int.from_bytes(self.b(2))

    def u32(self):
        return int.from_bytes(self.b(4))

    def u64(self):
        return int.from_bytes(self.b(8))

    def b16(self):
        return self.b(16)

    def b32(self):
        return self.b(32)

    def v8(self):
        return self.b(self.u8())

    def v16(self):
        return self.b(self.u16())

    def v32(self):
        return self.b(self.u32())

    def t8(self):
        return self.v8().decode()

    def n8(self, one, most=255):
        return self.many(self.u8(), one, most)

    def n16(self, one, most):
        return self.many(self.u16(), one, most)

    def many(self, count, one, most):
        assert count <= most, f"{count} of at most {most}"
        return [one() for _ in range(count)]

    def before(self):
        """All that was read."""
        return self.data[: self.at]

    def end(self):
        assert self.at == len(self.data), f"{len(self.data) - self.at} bytes more than there should be"

    def ext(self):
        found = ascending(self.n8(lambda: (self.u16(), self.v16()), 16), lambda e: e[0])
        assert not any(kind & CRITICAL for kind, _ in found), "no critical extension is known"
        return found

    def address(self):
        kind, value = self.u8(), self.v8()
        assert {1: 6, 2: 18}.get(kind) == len(value), f"an address of type {kind} with {len(value)} bytes"
        return kind, value

    def addresses(self):
        return self.n8(self.address, 8)

    def position(self):
        return self.b32(), self.u32(), self.b32()

    def objects(self, most):
        return self.n16(self.v32, most)


def ascending(items, key=lambda item: item):
    keys = [key(item) for item in items]
    assert all(a < b for a, b in zip(keys, keys[1:])), f"not sorted: {keys}"
    return items


def within(value, most, what):
    assert value <= most, f"{what} is {value}"
    return value


def envelope(data, kind):
    """A reader that stands at the body of an object of this type."""
    reader = Reader(data)
    head = (reader.u8(), reader.u16(), reader.u8())
    assert head == (1, kind, 1), f"format, type and suite are {head}, not those of {kind:#x}"
    assert reader.u32() == len(data) - reader.at, "the length of an object"
    return reader


def signed(reader, key, text):
    """The rest of an object: a signature over all before."""
    before = reader.before()
    verify(key, text, before, reader.b(64))
    reader.end()


class Challenge:
    def __init__(self, text):
        assert text.startswith("kinlink:")
        data = text.removeprefix("kinlink:")
        reader = Reader(base64.urlsafe_b64decode(data + "=" * (-len(data) % 4)))
        assert reader.u8() == 0x10
        flags = reader.u8()
        assert flags < 32
        self.role, self.custody = flags & 3, flags >> 2 & 3
        self.shower, self.secret, expires = reader.b32(), reader.b16(), reader.b(4)
        self.id = H("challenge id", b"\x10", bytes([flags]), self.shower, self.secret, expires)
        count = 0
        while len(reader.data) - reader.at > 64:
            reader.address()
            count += 1
        within(count, 8, "the number of addresses")
        signed(reader, self.shower, "challenge")
        self.key = kdf(self.secret, self.id, "link")


class Account:
    """What is known of an account from what was read of it."""

    def __init__(self):
        self.id = None
        self.statements = {}
        # Epochs that something names; all of them must be statements in the end.
        self.named = set()
        self.epochs, self.links, self.revoked = set(), {}, {}
        # (device, generation) to number to leaf, and the heads to hold them against.
        self.leaves, self.heads = {}, []
        self.actions = set()

    def statement(self, data):
        within(len(data), 16 * 1024, "a statement's length")
        reader = envelope(data, 0x8001)
        id = H("statement id", data)
        account, author, number, previous = reader.b32(), reader.b32(), reader.u32(), reader.b32()
        parents = ascending(reader.n8(reader.position, 64), lambda parent: parent[0])
        assert author not in [parent[0] for parent in parents]
        reader.u64()
        kind, body = reader.u16(), Reader(reader.v16())
        self.action(kind, body, author, id)
        body.end()
        reader.ext()
        assert reader.u8() == 0, "nobody can countersign yet"
        signed(reader, author, "statement")
        if kind == 0x8001:
            assert (account, number, previous, parents) == (bytes(32), 1, bytes(32), [])
            assert self.id in (None, id), "another account"
            self.id = id
        else:
            assert account == self.id and (parents or number > 1)
        self.statements[id] = (author, number, previous, parents)

    def complete(self):
        """Every statement names only such as were seen, with their authors and numbers."""
        assert self.named <= self.epochs, "an epoch that no statement begins"
        for id, (author, number, previous, parents) in self.statements.items():
            chain = [(author, number - 1, previous)] if number > 1 else []
            assert number > 1 or previous == bytes(32)
            for by, at, named in chain + parents:
                assert self.statements.get(named, (None, None))[:2] == (by, at), f"{id.hex()} names a stranger"

    def action(self, kind, body, author, id):
        self.actions.add(kind)
        if kind == 0x8001:
            body.t8(), body.t8(), body.t8(), body.b(1216), body.b16()
        elif kind == 0x8002:
            self.link(body, id)
        elif kind == 0x8003:
            device = body.b32()
            within(body.u8(), 5, "a reason")
            within(len(body.v8()), 200, "a text")
            within(body.u8(), 1, "flags")
            ascending(body.n8(lambda: (body.u32(), body.u64(), body.b32())), lambda honoured: honoured[0])
            self.revoked.setdefault(device, set()).add(id)
        elif kind == 0x8006:
            body.b32()
            within(body.u8(), 2, "a role")
        elif kind == 0x800C:
            body.b32()
            assert body.u8() == 1, "a cipher"
            ascending(body.n8(body.b32))
            assert body.u8() == 0, "there is no recovery key yet"
            self.epochs.add(id)
        elif kind == 0x000D:
            ascending(body.n8(body.b32))
        else:
            raise AssertionError(f"an action of type {kind:#x}")

    def link(self, body, id):
        device, hpke, role, custody, holder = body.b32(), body.b(1216), body.u8(), body.u8(), body.t8()
        body.u32(), body.t8(), body.t8()
        assert role <= 2 and custody <= 2 and (custody == 2 or not holder)
        kind, origin = body.u8(), body.v8()
        assert {0: 0, 1: 6, 2: 18}[kind] == len(origin)
        body.b32()
        challenge, consent = body.b32(), body.b(64)
        told = self.id + device + hpke + bytes([role, custody]) + challenge
        verify(device, "consent", told, consent)
        self.links[device] = (hpke, role, custody, challenge, consent)

    def sealed(self, data):
        reader = envelope(data, 0x8010)
        epoch, recipient = reader.b32(), reader.b32()
        assert (len(reader.v16()), len(reader.v16())) == (1120, 48)
        reader.ext()
        reader.end()
        self.named.add(epoch)
        return epoch, recipient

    def history(self, data):
        reader = envelope(data, 0x8011)
        self.named.add(reader.b32())
        reader.b(24), reader.v32(), reader.ext()
        reader.end()

    def report(self, data):
        within(len(data), 512 * 1024, "a report's length")
        reader = envelope(data, 0x8022)
        assert reader.b32() == self.id, "a report of another account"
        device = reader.b32()
        reader.u64(), reader.b16(), reader.u64()
        ascending(reader.n8(reader.position), lambda head: head[0])
        ascending(reader.n16(lambda: journal(reader), 4096), lambda found: found[:2])
        reader.u64(), reader.addresses(), reader.ext()
        signed(reader, device, "report")

    def head(self, data):
        within(len(data), 4096, "a head's length")
        reader = envelope(data, 0x8021)
        assert reader.b32() == self.id, "a head of another account"
        device, generation, _, size, root = reader.b32(), reader.u32(), reader.b16(), reader.u64(), reader.b32()
        reader.ext()
        signed(reader, device, "head")
        self.heads.append((device, generation, size, root))
        return device, generation, size

    def transfer(self, data):
        """A transfer header: what its segments are held against."""
        reader = Reader(data)
        device, generation, size = self.head(reader.v16())
        begin, level = reader.u64(), reader.u8()
        within(level, 10, "a level")
        roots, tail = reader.n16(reader.b32, 65535), reader.n8(reader.b32)
        reader.ext()
        reader.end()
        assert begin < size, "nothing is sent"
        whole = size >> level
        assert len(roots) == whole - min(whole, begin >> level), f"{len(roots)} roots from {begin} to {size}"
        assert len(tail) == bin(size & ((1 << level) - 1)).count("1"), "the tail"
        return {"journal": (device, generation), "at": begin, "size": size, "level": level, "roots": roots, "tail": tail}

    def segment(self, data, transfer):
        reader = Reader(data)
        assert reader.u64() == transfer["at"], "a segment out of order"
        for _ in range(reader.u16()):
            kind = reader.u8()
            assert kind in (0, 1), f"an item of kind {kind}"
            if kind == 0:
                self.operation(reader, transfer)
            else:
                level = reader.u8()
                reader.b32()
                assert transfer["at"] % (1 << level) == 0, "not aligned"
                transfer["at"] += 1 << level
        reader.end()
        at, size = transfer["at"], transfer["size"]
        assert at == size or at % (1 << transfer["level"]) == 0, f"a segment ends at {at} of {size}"

    def operation(self, reader, transfer):
        session, epoch, ciphertext = reader.b16(), reader.b32(), reader.v32()
        assert len(ciphertext) >= 24 + 16
        self.named.add(epoch)
        (device, generation), number = transfer["journal"], transfer["at"]
        header = b"\x01\x80\x20\x01" + device + generation.to_bytes(4) + number.to_bytes(8) + session + epoch
        assert len(header) == 96
        leaf = hashlib.sha256(b"\0" + header + hashlib.sha256(ciphertext).digest()).digest()
        known = self.leaves.setdefault((device, generation), {}).setdefault(number, leaf)
        assert known == leaf, "two operations with one number"
        transfer["at"] += 1

    def trees(self, transfers):
        """Holds heads and transfer headers against the operations that were seen; how many could be."""
        held = 0
        for device, generation, size, root in self.heads:
            leaves = self.leaves.get((device, generation), {})
            if all(number in leaves for number in range(size)):
                assert tree([leaves[number] for number in range(size)]) == root, f"the root at {size}"
                held += 1
        for transfer in transfers:
            self.subtrees(transfer)
        return held

    def subtrees(self, transfer):
        leaves, level, size = self.leaves.get(transfer["journal"], {}), transfer["level"], transfer["size"]
        step, whole = 1 << level, size >> level
        spans = [(at * step, step) for at in range(whole - len(transfer["roots"]), whole)]
        at = whole * step
        for bit in reversed(range(level)):
            if size >> bit & 1:
                spans.append((at, 1 << bit))
                at += 1 << bit
        for (start, length), root in zip(spans, transfer["roots"] + transfer["tail"], strict=True):
            span = range(start, start + length)
            if all(number in leaves for number in span):
                assert tree([leaves[number] for number in span]) == root, f"the subtree of {span}"


def tree(leaves):
    """RFC 9162 section 2.1.1, over leaves."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + tree(leaves[:left]) + tree(leaves[left:])).digest()


def journal(reader):
    """Of a report."""
    return reader.b32(), reader.u32(), reader.u64(), reader.b32()


def offered(reader):
    """Of a Hello and a Have: with `live` and `digest`."""
    return *journal(reader), reader.u64(), reader.b16()
