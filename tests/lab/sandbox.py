"""Two apps in sandboxes as Flatpak makes them, and a program of the user's that sees what they must not.

    sandbox.py BUS PRIVATE ROUTE

BUS and PRIVATE are the sockets of the session bus and of the daemon's own. By the ROUTE `proxy` the apps talk through
xdg-dbus-proxy, which itself runs in their sandbox, as Flatpak starts it; by `peer` they have the private socket.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bus import NAME, OBJECTS, PROPERTIES, ROOT, Client, eventually, refused

LAB = Path(__file__).resolve().parent
VENV = Path(sys.prefix)
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"


def sandbox(app, command, *shared, **streams):
    """Starts a program in the sandbox of an app; of the user's files it sees those that are shared."""
    info, other = os.pipe()
    os.write(other, f"[Application]\nname={app}\n".encode())
    os.close(other)
    wrap = ["bwrap", "--die-with-parent", "--unshare-pid", "--unshare-net", "--tmpfs", "/", "--proc", "/proc", "--dev", "/dev"]
    for path in ["/usr", "/etc"]:
        wrap += ["--ro-bind", path, path]
    for name in ["bin", "lib", "lib64"]:
        wrap += ["--symlink", f"usr/{name}", f"/{name}"]
    for path in shared:
        wrap += ["--bind", str(path), str(path)]
    wrap += ["--ro-bind-data", str(info), "/.flatpak-info"]
    child = subprocess.Popen([*wrap, *map(str, command)], pass_fds=[info], text=True, **streams)
    os.close(info)
    return child


class App:
    """An app in its sandbox."""

    def __init__(self, app, route, bus, private):
        self.id, self.children = app, []
        self.directory = tempfile.TemporaryDirectory()
        if route == "proxy":
            socket = Path(self.directory.name) / "bus"
            proxy = ["xdg-dbus-proxy", f"unix:path={bus}", socket, "--filter", f"--talk={NAME}"]
            self.children.append(sandbox(app, proxy, Path(bus).parent, self.directory.name))
            eventually("the proxy listens", socket.exists)
            # What Flatpak binds is the proxy's socket, not the bus's.
            shared, way = [self.directory.name], ["bus", socket]
        else:
            shared, way = [Path(private).parent], ["peer", private]
        steered = [sys.executable, LAB / "steered.py", *way]
        pipe = subprocess.PIPE
        self.child = sandbox(app, steered, *shared, LAB, VENV, stdin=pipe, stdout=pipe)
        self.children.append(self.child)
        self.signals = []

    def said(self, path, interface, method, signature="a{sv}", *arguments):
        """Types are separated by spaces."""
        interface = interface if "." in interface else f"{NAME}.{interface}"
        arguments = arguments or ({},) * len(signature.split())
        print(json.dumps([path, interface, method, signature, arguments]), file=self.child.stdin, flush=True)
        said = json.loads(self.child.stdout.readline())
        self.signals += said["signals"]
        return said

    def call(self, *arguments):
        said = self.said(*arguments)
        assert "reply" in said, f"{self.id} {arguments}: {said}"
        return said["reply"]

    def refused(self, name, *arguments):
        said = self.said(*arguments)
        assert said.get("refused") == f"{NAME}.Error.{name}", f"{self.id} {arguments}: {said}, expected {name}"
        assert said["text"].strip()

    def sessions(self):
        sessions, _ = self.call(ROOT, "Manager", "ListSessions", "a{sv}")
        return {session["Title"][1] for session in sessions}

    def hears(self):
        """The signals so far: a call and its answer come behind what was sent before."""
        self.call(ROOT, "Manager", "ListSessions", "a{sv}")
        heard, self.signals = self.signals, []
        return heard

    def close(self):
        for child in reversed(self.children):
            child.kill()
            child.wait()


def own_session_only(user, notes, mail, theirs):
    """What an app may do, and with its own session only."""
    ours = notes.call(ROOT, "Manager", "CreateSession", "s s a{sv}", notes.id, "Ours", {})
    notes.refused("NotAllowed", ROOT, "Manager", "CreateSession", "s s a{sv}", mail.id, "Forged", {})
    notes.call(ours, "Session", "Put", "s ay a{sv}", "milk", "2 l", {})
    assert notes.call(ours, "Session", "Get", "s a{sv}", "milk", {})[0] == "2 l"
    assert (notes.sessions(), mail.sessions()) == ({"Ours"}, {"Theirs"})
    assert user.get(ours, "Session", "Title") == "Ours", "the user's own program sees it"
    own = {
        "Get": ("s a{sv}", "key", {}),
        "Put": ("s ay a{sv}", "key", "forged", {}),
        "Delete": ("s a{sv}", "key", {}),
        "List": ("a{sv}", {}),
        "ChangesSince": ("s a{sv}", "", {}),
        "Conflicts": ("s a{sv}", "key", {}),
        "End": ("s a{sv}", "out of spite", {}),
    }
    for method, arguments in own.items():
        notes.refused("NotFound", theirs, "Session", method, *arguments)
    seen = notes.said(theirs, PROPERTIES, "GetAll", "s", f"{NAME}.Session")
    assert "refused" in seen and "Theirs" not in json.dumps(seen), seen
    assert mail.call(theirs, "Session", "Get", "s a{sv}", "key", {})[0] == "value", "nothing was changed"
    return ours


def nothing_else(user, notes, device):
    """What needs a program outside of a sandbox."""
    calls = [
        (ROOT, "Manager", "OpenPairing"),
        (ROOT, "Manager", "Join", "s a{sv}", "kinlink:none", {}),
        (ROOT, "Manager", "Leave"),
        (ROOT, "Manager", "Erase"),
        (ROOT, "Manager", "RevokeOthers", "s a{sv}", "mine now", {}),
        (device, "Device", "Revoke", "s a{sv}", "mine now", {}),
        (device, "Device", "Ping"),
        (device, "Device", "Dismiss"),
        (device, "Device", "AddAddress", "s a{sv}", "192.0.2.1:1", {}),
        (device, PROPERTIES, "Set", "s s v", f"{NAME}.Device", "Name", ["s", "mine"]),
        (ROOT, PROPERTIES, "Set", "s s v", f"{NAME}.Manager", "Port", ["q", 4000]),
    ]
    for call in calls:
        notes.refused("NotAllowed", *call)
    names = [user.get(path, "Device", "Name") for path in devices(user)]
    for path, interface, method in [(ROOT, OBJECTS, "GetManagedObjects"), (ROOT, INTROSPECTABLE, "Introspect")]:
        said = json.dumps(notes.said(path, interface, method, ""))
        assert not any(secret in said for secret in ["Theirs", *names, *devices(user)]), said
    said = json.dumps(notes.said(device, PROPERTIES, "GetAll", "s", f"{NAME}.Device"))
    assert not any(name in said for name in names), said
    assert all(user.get(path, "Device", "Status") == "linked" for path in devices(user)), "nobody was put out"


def devices(user):
    return sorted(path for path, interfaces in user.objects().items() if f"{NAME}.Device" in interfaces)


def signals_of_its_own(user, notes, mail, ours, theirs):
    """An app hears of its own session, and of nothing else that the user's program hears of."""
    for app in [notes, mail]:
        app.call(ROOT, "Manager", "Subscribe")
        app.hears()

    def changed(path):
        return lambda signal: (signal.path, signal.name) == (path, "EntryChanged")

    user.call(theirs, "Session", "Put", "saya{sv}", "key", b"new", {})
    user.signal("theirs changed", changed(theirs))
    user.call(ours, "Session", "Put", "saya{sv}", "milk", b"3 l", {})
    user.signal("ours changed", changed(ours))
    device = devices(user)[0]
    user.set(device, "Device", "Name", ("s", "Another name"))
    user.changed(device, "Device", "Name", "Another name")
    pairing = user.manager("OpenPairing")[0]
    user.call(pairing, "Pairing", "Cancel", "a{sv}", {})
    user.call(theirs, "Session", "End", "sa{sv}", "enough", {})
    user.signal("theirs ended", lambda signal: (signal.path, signal.name) == (theirs, "Ended"))
    for app, own, names in [(notes, ours, {"EntryChanged"}), (mail, theirs, {"EntryChanged", "Ended"})]:
        heard = app.hears()
        of_own = {name for path, _, name, _ in heard if path == own}
        assert names <= of_own, f"{app.id} heard {heard}"
        others = [signal for signal in heard if signal[0] not in (own, ROOT)]
        assert not others, f"{app.id} heard {others}"
        known = ["Another name", pairing, theirs if own == ours else ours, device]
        told = json.dumps([signal for signal in heard if signal[0] == ROOT])
        assert not any(secret in told for secret in known), f"{app.id} heard {told}"


def main(bus, private, route):
    user = Client(bus, peer=False) if route == "proxy" else Client(private, peer=True)
    user.manager("Subscribe")
    theirs = user.call(ROOT, "Manager", "CreateSession", "ssa{sv}", "org.example.Mail", "Theirs", {})
    user.call(theirs, "Session", "Put", "saya{sv}", "key", b"value", {})
    notes, mail = (App(app, route, bus, private) for app in ["org.example.Notes", "org.example.Mail"])
    try:
        ours = own_session_only(user, notes, mail, theirs)
        nothing_else(user, notes, devices(user)[-1])
        signals_of_its_own(user, notes, mail, ours, theirs)
    finally:
        notes.close(), mail.close()
    print("ok")


main(*sys.argv[1:])
