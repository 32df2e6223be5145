"""Uses every member of the D-Bus contract with one client that is not ours, and fails naming those that it did not.

coverage.py jeepney|busctl|gdbus BUS_OF_ANNA BUS_OF_BERT

What there is to use comes from `proto/dbus/*.xml`. A member that is added there needs a line here: in MORE if it fits
nowhere in the story.
"""

import socket
import sys

import contract
from bus import ROOT, Refused, eventually
from tools import TOOLS

APP = "org.example.Notes"
AGENT = "/org/example/agent"
INTERFACES = ("Manager", "Device", "Session", "Pairing")

# Calls of methods that the story has no other use for, when two devices are linked: (interface, method) to
# signature and arguments, given the story.
AWAY = "192.0.2.1:4000"
MORE = {
    ("Device", "AddAddress"): lambda story: ("sa{sv}", (AWAY, {})),
    ("Device", "RemoveAddress"): lambda story: ("sa{sv}", (AWAY, {})),
    ("Device", "Ping"): lambda story: ("a{sv}", ({},)),
    ("Manager", "KeyStatus"): lambda story: ("a{sv}", ({},)),
    ("Manager", "MoveKey"): lambda story: ("sa{sv}", ("file", {})),
    ("Manager", "RemovePin"): lambda story: ("a{sv}", ({},)),
    ("Manager", "VerifyPin"): lambda story: ("a{sv}", ({},)),
    ("Manager", "Unlock"): lambda story: ("a{sv}", ({},)),
}
# Properties that are set, as they are set: (interface, name) to signature and value, given the story.
SET = {
    ("Device", "Name"): lambda story: ("s", "desk"),
    ("Manager", "Port"): lambda story: ("q", free_port()),
}

# Members that the story does not use, with the reason.
UNUSED = {
    ("method", "Manager.SetPin"): "a PIN is handed over in a pipe, which not all of these clients have",
    ("signal", "Manager.SignalsLost"): "needs a client that reads nothing while entries change by the hundred",
}
PIN = ("TwoStep", "PinSetBy", "PinSetAt", "PinKnownOn", "PinKnownOf")

# Properties that signal changes and cannot change within the story, with the reason.
STEADY = {
    "Manager": {
        **{name: "no PIN is set" for name in PIN},
        "KeyProtection": "it stays in a file here",
        "UpdateNeeded": "needs a device of a later version",
        "Warnings": "not under the daemon of a test",
        "ChangesReceived": "needs more than a thousand changes at once",
        "ChangesExpected": "needs more than a thousand changes at once",
    },
    "Device": {
        "Platform": "said once, when it is linked",
        "Custody": "said once, when it is linked",
        "ThisDevice": "a device that starts over is another object",
        "LinkedAt": "linked once",
        "LinkedBy": "linked once",
        "LinkedFrom": "linked once",
        "Verified": "linked once",
        "Lease": "there are no leases yet",
        "WrongPins": "no PIN is set",
        "SeenAt": "needs a disk that runs twice",
    },
    "Session": {"Title": "nothing renames a session yet", "Expires": "said once, when it is made"},
    "Pairing": {
        "Custody": "known from the challenge on",
        "Role": "known from the challenge on",
        "Expires": "known from the challenge on",
    },
}


def free_port():
    """A UDP port that nobody had a moment ago."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::", 0))
        return probe.getsockname()[1]


class Story:
    def __init__(self, tool, buses):
        self.buses = buses
        self.anna, self.bert = (TOOLS[tool](bus) for bus in buses)
        self.both = (self.anna, self.bert)

    def tell(self):
        self.turned_down()
        self.link()
        self.devices()
        self.session()
        self.out()

    def pair(self):
        """Opens a pairing on one and answers it on the other, up to the offer."""
        shown, qr, text, _ = self.anna.call(ROOT, "Manager", "OpenPairing", "a{sv}", {"timeout": ("u", 60)})
        assert qr.startswith("KL:") and text.startswith("kinlink:"), (qr, text)
        (joined,) = self.bert.call(ROOT, "Manager", "Join", "sa{sv}", text, {"name": ("s", "bert")})
        self.state(self.bert, joined, "offered")
        return shown, joined

    def state(self, tool, pairing, *states):
        return eventually(f"{pairing} is {states}", lambda: tool.get(pairing, "Pairing", "State") in states)

    def turned_down(self):
        for tool in self.both:
            tool.call(ROOT, "Manager", "RegisterAgent", "oa{sv}", AGENT, {})
            tool.call(ROOT, "Manager", "UnregisterAgent", "a{sv}", {})
        shown, *_ = self.anna.call(ROOT, "Manager", "OpenPairing", "a{sv}", {})
        self.anna.call(shown, "Pairing", "Cancel", "a{sv}", {})
        self.state(self.anna, shown, "cancelled")
        shown, joined = self.pair()
        self.bert.call(joined, "Pairing", "Reject", "a{sv}", {})
        self.state(self.bert, joined, "failed", "cancelled")
        self.state(self.anna, shown, "failed", "cancelled")

    def link(self):
        shown, joined = self.pair()
        self.bert.call(joined, "Pairing", "Accept", "a{sv}", {})
        self.state(self.anna, shown, "code")
        self.state(self.bert, joined, "code")
        for tool, pairing in ((self.anna, shown), (self.bert, joined)):
            self.read(tool, pairing, "Pairing")
        (code,) = self.bert.call(joined, "Pairing", "Code", "a{sv}", {})
        try:
            self.anna.call(shown, "Pairing", "Confirm", "sa{sv}", f"{(int(code) + 1) % 10**6:06}", {})
            raise AssertionError("a wrong code was taken")
        except Refused:
            eventually("another code is shown", lambda: self.bert.get(joined, "Pairing", "TriesLeft") == 2)
        self.state(self.anna, shown, "code")
        (code,) = self.bert.call(joined, "Pairing", "Code", "a{sv}", {})
        self.anna.call(shown, "Pairing", "Confirm", "sa{sv}", code, {})
        self.state(self.bert, joined, "linked")
        self.device = self.anna.get(shown, "Pairing", "Device")
        self.anna.signal(self.device, "PropertiesChanged", lambda values: values[1].get("Online") is True)
        eventually("bert is linked", lambda: self.bert.get(ROOT, "Manager", "State") == "linked")

    def read(self, tool, path, interface):
        for kind, name in contract.documented(interface):
            if kind == "property":
                tool.get(path, interface, name)

    def devices(self):
        for tool in self.both:
            self.read(tool, ROOT, "Manager")
            self.read(tool, self.device, "Device")
        for (interface, name), value in SET.items():
            self.anna.set(self.device if interface == "Device" else ROOT, interface, name, *value(self))
        self.bert.signal(self.device, "PropertiesChanged", lambda values: values[1].get("Name") == "desk")
        self.anna.call(self.device, "Device", "Dismiss", "a{sv}", {})
        self.anna.call(self.device, "Device", "SetRole", "sa{sv}", "member", {})
        for (interface, method), given in MORE.items():
            path = self.device if interface == "Device" else ROOT
            signature, arguments = given(self)
            self.anna.call(path, interface, method, signature, *arguments)
        self.suspended()

    def suspended(self):
        self.anna.call(self.device, "Device", "Suspend", "sa{sv}", "mislaid", {})
        eventually("bert is suspended", lambda: self.bert.get(ROOT, "Manager", "State") == "suspended")
        self.anna.call(self.device, "Device", "Readmit", "a{sv}", {})
        eventually("bert is back", lambda: self.bert.get(ROOT, "Manager", "State") == "linked")

    def session(self):
        for tool in self.both:
            tool.call(ROOT, "Manager", "Subscribe", "a{sv}", {})
        arguments = (APP, "It's \"mine\"", {"expires": ("t", 0)})
        (path,) = self.anna.call(ROOT, "Manager", "CreateSession", "ssa{sv}", *arguments)
        listed = lambda: self.bert.call(ROOT, "Manager", "ListSessions", "a{sv}", {"app": ("s", APP)})[0]
        assert eventually("the session is listed", listed)[0]["Title"] == arguments[1]
        self.anna.call(path, "Session", "Put", "saya{sv}", "list", b"\0milk\xff", {"if-version": ("s", "")})
        self.bert.signal(path, "EntryChanged", lambda values: list(values[:2]) == ["list", "put"])
        for tool in self.both:
            self.entries(tool, path)
        self.bert.call(path, "Session", "Delete", "sa{sv}", "list", {})
        self.anna.signal(path, "EntryChanged", lambda values: list(values[:2]) == ["list", "delete"])
        self.anna.call(path, "Session", "Delete", "sa{sv}", *self.another(path))
        self.anna.call(path, "Session", "End", "sa{sv}", "bought", {})
        for tool in self.both:
            assert tool.signal(path, "Ended")[2] == "bought"
            tool.call(ROOT, "Manager", "Unsubscribe", "a{sv}", {})
        self.bert.call(ROOT, "Manager", "CreateSession", "ssa{sv}", *arguments)

    def entries(self, tool, path):
        value, meta = tool.call(path, "Session", "Get", "sa{sv}", "list", {})
        assert bytes(value) == b"\0milk\xff" and len(meta["Version"]) == 32, (value, meta)
        entries, _ = tool.call(path, "Session", "List", "a{sv}", {"limit": ("u", 10)})
        assert [entry[0] for entry in entries] == ["list"], entries
        changes, cursor = tool.call(path, "Session", "ChangesSince", "sa{sv}", "", {})
        assert [(change[0], change[1]) for change in changes] == [("list", "put")], changes
        assert not tool.call(path, "Session", "ChangesSince", "sa{sv}", cursor, {})[0]
        (values,) = tool.call(path, "Session", "Conflicts", "sa{sv}", "list", {})
        assert len(values) == 1, values
        self.read(tool, path, "Session")

    def another(self, path):
        self.anna.call(path, "Session", "Put", "saya{sv}", "eggs", b"", {})
        return "eggs", {}

    def out(self):
        self.anna.call(self.device, "Device", "Revoke", "sa{sv}", "sold", {})
        eventually("bert is out", lambda: self.bert.get(ROOT, "Manager", "State") == "revoked")
        self.bert.signal(ROOT, "PropertiesChanged", lambda values: values[1].get("RevokedReason") == "sold")
        applied = lambda: self.anna.get(self.device, "Device", "AppliedOn") >= 1
        eventually("its revocation is applied", applied)
        assert self.anna.call(ROOT, "Manager", "RevokeOthers", "sa{sv}", "alone", {}) == [[]]
        self.bert.call(ROOT, "Manager", "Erase", "a{sv}", {})
        eventually("bert starts over", lambda: self.bert.get(ROOT, "Manager", "State") == "unlinked")
        self.link()
        self.bert.call(ROOT, "Manager", "Leave", "a{sv}", {"reason": ("s", "done")})
        eventually("bert has left", lambda: self.anna.get(self.device, "Device", "Status") == "left")

    def missing(self):
        """The members that nobody used."""
        documented = {
            (kind, f"{interface}.{name}") for interface in INTERFACES for kind, name in contract.documented(interface)
        }
        settable = {
            ("set", f"{interface}.{name}")
            for interface in INTERFACES
            for (_, name), (_, _, access, _) in contract.documented(interface).items()
            if access == "readwrite"
        }
        return (documented | settable) - self.anna.seen - self.bert.seen - UNUSED.keys()

    def silent(self):
        """Properties that are documented to signal, and did not; and the other way round."""
        emits, changed = set(), self.anna.changed | self.bert.changed
        for interface in INTERFACES:
            for (kind, name), (_, _, _, notes) in contract.documented(interface).items():
                quiet = "org.freedesktop.DBus.Property.EmitsChangedSignal" in notes or name in STEADY[interface]
                if kind == "property" and not quiet:
                    emits.add((interface, name))
        steady = {(interface, name) for interface, names in STEADY.items() for name in names}
        return emits - changed, changed - emits - steady


if __name__ == "__main__":
    tool, *buses = sys.argv[1:]
    story = Story(tool, buses)
    try:
        story.tell()
        missing = story.missing()
        assert not missing, f"{tool} did not use {sorted(missing)}"
        if tool == "jeepney":
            silent, loud = story.silent()
            assert not silent, f"no change was signalled of {sorted(silent)}"
            assert not loud, f"changes were signalled of {sorted(loud)}"
    finally:
        story.anna.close()
        story.bert.close()
    print(f"ok: {tool} used {len(story.anna.seen | story.bert.seen)} members", flush=True)
