"""A bus of one: what several short-lived programs call through it is called by one client.

`busctl` and `gdbus` run for one call. To a daemon each run would be another client, which leaves at once and takes its pairing with
it. A Seat gives them a bus address, answers for the bus itself, passes every other call on over its one connection
to a real bus, and hands the signals that come back to whoever monitors.
"""

import selectors
import socket
import tempfile
import threading
from pathlib import Path

from jeepney import DBusAddress, HeaderFields, Message, MessageType, Parser
from jeepney.wrappers import new_error, new_method_return, new_signal

from bus import NAME

BUS = "org.freedesktop.DBus"
DAEMON, VISITOR = ":1.1", ":1.2"
# What the bus says to those at the seat: by method, signature and values.
ANSWERS = {
    "Hello": ("s", (VISITOR,)),
    "GetNameOwner": ("s", (DAEMON,)),
    "NameHasOwner": ("b", (True,)),
    "StartServiceByName": ("u", (2,)),
    "GetId": ("s", ("0" * 32,)),
}


class Visitor:
    """A program at the seat."""

    def __init__(self, sock):
        self.sock, self.parser, self.line, self.ready, self.monitors = sock, Parser(), b"", False, False

    def greet(self, data):
        """The D-Bus handshake: whoever reached the socket may come in. Returns what came behind it."""
        self.line += data.lstrip(b"\0") if not self.line else data
        while not self.ready and b"\r\n" in self.line:
            said, self.line = self.line.split(b"\r\n", 1)
            if said == b"BEGIN":
                self.ready = True
            elif said == b"AUTH EXTERNAL":
                self.sock.sendall(b"DATA\r\n")
            elif said.startswith((b"AUTH EXTERNAL ", b"DATA")):
                self.sock.sendall(b"OK " + b"0" * 32 + b"\r\n")
            elif said == b"NEGOTIATE_UNIX_FD":
                self.sock.sendall(b"AGREE_UNIX_FD\r\n")
            else:
                self.sock.sendall(b"REJECTED EXTERNAL\r\n")
        return self.line if self.ready else b""


class Seat(threading.Thread):
    """Takes a Client over: it must not be used otherwise any more."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.upstream = client.connection
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "bus"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.upstream.sock, selectors.EVENT_READ)
        self.visitors, self.waiting = {}, {}
        self.monitored = threading.Semaphore(0)
        self.start()

    @property
    def address(self):
        return f"unix:path={self.path}"

    def run(self):
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.listener:
                    sock, _ = self.listener.accept()
                    self.visitors[sock] = Visitor(sock)
                    self.selector.register(sock, selectors.EVENT_READ)
                elif key.fileobj is self.upstream.sock:
                    data = key.fileobj.recv(65536)
                    if not data:
                        return
                    for message in self.upstream.parser.feed(data):
                        self.from_daemon(message)
                else:
                    self.from_visitor(self.visitors[key.fileobj])

    def from_visitor(self, visitor):
        data = visitor.sock.recv(65536)
        if not data:
            self.selector.unregister(visitor.sock)
            del self.visitors[visitor.sock]
            visitor.sock.close()
            return
        if not visitor.ready:
            data = visitor.greet(data)
        for message in visitor.parser.feed(data):
            if message.header.message_type == MessageType.method_call:
                self.call(visitor, message)

    def call(self, visitor, message):
        fields = message.header.fields
        if fields.get(HeaderFields.destination) == BUS:
            member = fields[HeaderFields.member]
            self.send(visitor, new_method_return(message, *ANSWERS.get(member, (None, ()))), BUS)
            if member == "BecomeMonitor":
                # A monitor has no name of its own; until it hears that, it shows nothing.
                lost = new_signal(DBusAddress("/org/freedesktop/DBus", BUS, BUS), "NameLost", "s", (VISITOR,))
                self.send(visitor, lost, BUS)
            if member in ("BecomeMonitor", "AddMatch") and not visitor.monitors:
                visitor.monitors = True
                self.monitored.release()
            return
        serial = next(self.upstream.outgoing_serial)
        self.waiting[serial] = (visitor, message)
        fields[HeaderFields.destination] = NAME
        fields.pop(HeaderFields.sender, None)
        self.upstream.sock.sendall(message.serialise(serial=serial))

    def from_daemon(self, message):
        fields = message.header.fields
        if message.header.message_type == MessageType.signal:
            for visitor in [visitor for visitor in self.visitors.values() if visitor.monitors]:
                self.send(visitor, message, DAEMON)
            return
        visitor, call = self.waiting.pop(fields.get(HeaderFields.reply_serial), (None, None))
        if visitor is None:
            return
        signature = fields.get(HeaderFields.signature)
        if message.header.message_type == MessageType.error:
            reply = new_error(call, fields[HeaderFields.error_name], signature, message.body)
        else:
            reply = new_method_return(call, signature, message.body)
        self.send(visitor, reply, DAEMON)

    def send(self, visitor, message: Message, sender):
        message.header.fields[HeaderFields.sender] = sender
        message.header.fields.pop(HeaderFields.destination, None)
        try:
            visitor.sock.sendall(message.serialise(serial=next(self.upstream.outgoing_serial)))
        except OSError:
            visitor.monitors = False
