"""Links two devices over D-Bus alone, uses them, and revokes one: what a desktop or an app would do.

client.py bus|peer SOCKET_OF_ANNA SOCKET_OF_BERT
"""

import sys

import contract
from bus import ROOT, Client, eventually, refused

APP = "org.example.Notes"


def say(text):
    print(f"ok: {text}", flush=True)


def text(value):
    return ("s", value)


class Story:
    def __init__(self, kind, sockets):
        self.connect = [lambda socket=socket: Client(socket, kind == "peer") for socket in sockets]
        self.anna, self.bert = (connect() for connect in self.connect)

    def tell(self):
        self.unlinked()
        shown, joined, secret = self.open()
        self.private(shown, secret)
        self.offer(joined)
        self.code(shown, joined)
        self.devices(shown, joined)
        session = self.session()
        self.entries(session)
        self.end(session)
        self.revoke()

    def unlinked(self):
        for client in (self.anna, self.bert):
            contract.check(client, ROOT, "Manager")
            assert client.get(ROOT, "Manager", "State") == "unlinked"
        with refused("NotLinked"):
            self.anna.manager("Leave")
        with refused("BadChallenge"):
            self.bert.manager("Join", "sa{sv}", "kinlink:nonsense", {})
        with refused("InvalidOption"):
            self.anna.manager("OpenPairing", "a{sv}", {"colour": text("red")})
        with refused("InvalidArgument"):
            self.anna.manager("OpenPairing", "a{sv}", {"timeout": ("u", 29)})
        with refused("org.freedesktop.DBus.Error.UnknownMethod"):
            self.anna.manager("Explode")
        with refused("org.freedesktop.DBus.Error.InvalidArgs"):
            self.anna.manager("OpenPairing", "s", "options, perhaps")
        say("a device of its own, and the errors of its methods by name")

    def open(self):
        options = {"timeout": ("u", 60), "label": text("home"), "name": text("anna")}
        shown, qr, copied, expires = self.anna.manager("OpenPairing", "a{sv}", options)
        assert qr.startswith("KL:") and len(qr) <= 195 and copied.startswith("kinlink:"), (qr, copied)
        assert self.anna.get(shown, "Pairing", "Expires") == expires
        self.anna.changed(ROOT, "Manager", "PairingOpen", True)
        contract.check(self.anna, shown, "Pairing")
        with refused("PairingOpen"):
            self.anna.manager("OpenPairing")
        joined = self.bert.manager("Join", "sa{sv}", f" {copied}\n", {"name": text("bert")})
        contract.check(self.bert, joined, "Pairing")
        say("pairing opened on one device and answered on the other")
        return shown, joined, (qr, copied)

    def private(self, shown, secret):
        """The pairing is its owner's alone."""
        other = self.connect[0]()
        assert shown not in other.objects()
        with refused("NotFound"):
            other.call(shown, "Pairing", "Cancel", "a{sv}", {})
        with refused("NotFound"):
            other.get(shown, "Pairing", "State")
        assert not any(part in repr(other.objects()) for part in secret)
        other.close()
        say("another client sees nothing of it")

    def offer(self, joined):
        self.bert.changed(joined, "Pairing", "State", "offered")
        offer = {name: value for name, (_, value) in self.bert.all(joined, "Pairing").items()}
        assert (offer["AccountLabel"], offer["PeerName"], offer["Role"]) == ("home", "anna", "owner"), offer
        assert offer["PeerId"] == self.anna.get(ROOT, "Manager", "ThisDevice").rsplit("/", 1)[1]
        assert offer["PeerFingerprint"] == self.anna.get(ROOT, "Manager", "Fingerprint")
        with refused("PairingClosed"):
            self.bert.call(joined, "Pairing", "Code", "a{sv}", {})
        self.bert.call(joined, "Pairing", "Accept", "a{sv}", {})
        say("the offer names account, role and device, and was accepted")

    def code(self, shown, joined):
        self.anna.changed(shown, "Pairing", "State", "code")
        self.bert.changed(joined, "Pairing", "State", "code")
        peer = {name: value for name, (_, value) in self.anna.all(shown, "Pairing").items()}
        assert (peer["PeerName"], peer["TriesLeft"]) == ("bert", 3), peer
        code = self.bert.call(joined, "Pairing", "Code", "a{sv}", {})
        assert len(code) == 6 and code.isdigit(), code
        with refused("WrongCode"):
            self.anna.call(shown, "Pairing", "Confirm", "sa{sv}", f"{(int(code) + 1) % 10**6:06}", {})
        assert self.anna.get(shown, "Pairing", "TriesLeft") == 2
        self.bert.changed(joined, "Pairing", "TriesLeft", 2)
        eventually("the next code is awaited", lambda: self.anna.get(shown, "Pairing", "State") == "code")
        code = self.bert.call(joined, "Pairing", "Code", "a{sv}", {})
        self.anna.call(shown, "Pairing", "Confirm", "sa{sv}", f"{code[:3]} {code[3:]}", {})
        self.anna.changed(shown, "Pairing", "State", "linked")
        self.bert.changed(joined, "Pairing", "State", "linked")
        self.bert.changed(ROOT, "Manager", "State", "linked")
        say("a wrong code was refused by name, the right one linked")

    def devices(self, shown, joined):
        self.device = self.anna.get(shown, "Pairing", "Device")
        self.anna_device = self.anna.get(ROOT, "Manager", "ThisDevice")
        assert self.device == self.bert.get(ROOT, "Manager", "ThisDevice") == self.bert.get(joined, "Pairing", "Device")
        added = self.anna.signal(
            "the new device", lambda s: s.name == "InterfacesAdded" and s.body[0] == self.device
        )
        assert added.path == ROOT and added.signature == "oa{sa{sv}}", added
        for client in (self.anna, self.bert):
            listed = {path for path in client.objects() if "/devices/" in path}
            assert listed == {self.device, self.anna_device}, listed
            contract.check(client, self.device, "Device")
        account = self.anna.get(ROOT, "Manager", "Account")
        assert account and account == self.bert.get(ROOT, "Manager", "Account")
        self.anna.set(self.device, "Device", "Name", text("desk"))
        self.bert.changed(self.device, "Device", "Name", "desk")
        with refused("org.freedesktop.DBus.Error.PropertyReadOnly"):
            self.anna.set(self.device, "Device", "Role", text("guest"))
        with refused("InvalidArgument"):
            self.anna.set(self.device, "Device", "Name", text(""))
        with refused("NotFound"):
            self.anna.call(f"{ROOT}/devices/{'0' * 64}", "Device", "Revoke", "sa{sv}", "", {})
        say("both list both devices; a new name given on one is announced on the other")

    def session(self):
        for client in (self.anna, self.bert):
            client.manager("Subscribe")
        session = self.anna.manager("CreateSession", "ssa{sv}", APP, "Shopping", {})
        listed = eventually("the session is listed", lambda: self.bert.manager("ListSessions")[0])
        found = {name: value for name, (_, value) in listed[0].items()}
        assert (found["App"], found["Title"], found["DeviceName"]) == (APP, "Shopping", "anna"), found
        assert session.endswith(found["Id"])
        contract.check(self.bert, session, "Session")
        assert self.bert.manager("ListSessions", "a{sv}", {"app": text("org.example.Other")}) == ([], "")
        say("a session made on one is listed on the other")
        return session

    def entries(self, session):
        self.anna.call(session, "Session", "Put", "saya{sv}", "list", b"milk", {})
        self.entry_changed(self.bert, session, ("list", "put", self.anna_device))
        value, meta = self.bert.call(session, "Session", "Get", "sa{sv}", "list", {})
        assert value == b"milk" and meta["Conflicts"] == ("u", 0), (value, meta)
        entries, cursor = self.bert.call(session, "Session", "List", "a{sv}", {})
        assert [(entry[0], entry[3]) for entry in entries] == [("list", 4)] and cursor == "", entries
        self.bert.call(session, "Session", "Delete", "sa{sv}", "list", {})
        self.entry_changed(self.anna, session, ("list", "delete", self.device))
        with refused("NotFound"):
            self.anna.call(session, "Session", "Get", "sa{sv}", "list", {})
        with refused("TooLarge"):
            self.anna.call(session, "Session", "Put", "saya{sv}", "k" * 1025, b"", {})
        say("entries written, announced, read and deleted")

    def entry_changed(self, client, session, expected):
        key, kind, device = expected
        signal = client.signal(
            f"{kind} {key}", lambda s: s.name == "EntryChanged" and s.body == (key, kind, device.rsplit("/", 1)[1])
        )
        assert signal.path == session and signal.signature == "sss", signal

    def end(self, session):
        self.bert.call(session, "Session", "End", "sa{sv}", "bought", {})
        ended = self.anna.signal("the end", lambda s: s.name == "Ended" and s.path == session)
        assert ended.body == (self.device.rsplit("/", 1)[1], "desk", "bought"), ended
        with refused("SessionEnded"):
            self.anna.call(session, "Session", "Put", "saya{sv}", "list", b"eggs", {})
        say("ended on one, the other heard who did it and why")

    def revoke(self):
        self.anna.call(self.device, "Device", "Revoke", "sa{sv}", "sold", {})
        self.anna.changed(self.device, "Device", "Status", "revoked")
        self.bert.changed(ROOT, "Manager", "State", "revoked")
        told = {name: value for name, (_, value) in self.bert.all(ROOT, "Manager").items()}
        assert told["RevokedReason"] == "sold" and told["RevokedAt"] > 0, told
        assert "anna" in told["RevokedBy"] or self.anna_device.endswith(told["RevokedBy"]), told
        with refused("Revoked"):
            self.bert.manager("CreateSession", "ssa{sv}", APP, "More", {})
        with refused("Refused"):
            self.anna.call(self.device, "Device", "Revoke", "sa{sv}", "again", {})
        self.bert.manager("Erase")
        self.bert.changed(ROOT, "Manager", "State", "unlinked")
        say("revoked, told by whom and why, erased")


if __name__ == "__main__":
    kind, *sockets = sys.argv[1:]
    Story(kind, sockets).tell()
