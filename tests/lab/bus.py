"""A D-Bus client on jeepney, for a message bus and for a socket without one."""

import time
from contextlib import contextmanager

from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call
from jeepney.wrappers import new_error, new_method_return
from jeepney.io.blocking import DBusConnectionBase, prep_socket

NAME = "org.kinlink.Kinlink1"
ROOT = "/org/kinlink/Kinlink1"
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECTS = "org.freedesktop.DBus.ObjectManager"
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
# Seconds that anything may take on a busy machine.
PATIENCE = 60


class Refused(Exception):
    """An error reply: its name, and what it says to people."""

    def __init__(self, name, text):
        super().__init__(f"{name}: {text}")
        self.name, self.text = name, text


class Signal:
    """A signal as it came."""

    def __init__(self, message):
        fields = message.header.fields
        self.path = fields.get(HeaderFields.path)
        self.interface = fields.get(HeaderFields.interface)
        self.name = fields.get(HeaderFields.member)
        self.signature = fields.get(HeaderFields.signature, "")
        self.body = message.body

    def __repr__(self):
        return f"{self.path} {self.interface}.{self.name}{self.body!r}"


class Client:
    """One connection to one kinlinkd. Signals are kept in the order in which they come."""

    def __init__(self, socket, peer):
        self.connection = DBusConnectionBase(prep_socket(socket))
        self.peer = peer
        self.signals = []
        # What is done with each signal beside, and the object that answers calls: see `provide`.
        self.on_signal = lambda signal: None
        self.object = None
        if not peer:
            bus = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
            self._call(new_method_call(bus, "Hello"))
            self._call(new_method_call(bus, "AddMatch", "s", (f"type='signal',sender='{NAME}'",)))

    def close(self):
        self.connection.close()

    def call(self, path, interface, method, signature="", *args):
        """Calls a method; `interface` may leave out our prefix. A single value is given as it is."""
        interface = interface if "." in interface else f"{NAME}.{interface}"
        address = DBusAddress(path, NAME, interface)
        body = self._call(new_method_call(address, method, signature or None, args))
        return body[0] if len(body) == 1 else body

    def exchange(self, path, interface, method, signature="", args=()):
        """Calls a method; the whole reply."""
        return self._exchange(new_method_call(DBusAddress(path, NAME, interface), method, signature or None, args))

    @staticmethod
    def signature(message):
        return message.header.fields.get(HeaderFields.signature, "")

    def pump(self, seconds):
        """Takes in what comes within a while."""
        try:
            self._receive(time.monotonic() + seconds, "")
        except AssertionError:
            pass

    def provide(self, path, answer):
        """From now on calls of the object at `path` are answered: `answer(interface, method, signature, values)` gives a
        signature and values, or raises Refused."""
        self.object = (path, answer)

    def manager(self, method, signature="a{sv}", *args):
        return self.call(ROOT, "Manager", method, signature, *(args or ({},)))

    def get(self, path, interface, name):
        return self.call(path, PROPERTIES, "Get", "ss", f"{NAME}.{interface}", name)[1]

    def all(self, path, interface):
        """Every property: name to (type, value)."""
        return self.call(path, PROPERTIES, "GetAll", "s", f"{NAME}.{interface}")

    def set(self, path, interface, name, value):
        return self.call(path, PROPERTIES, "Set", "ssv", f"{NAME}.{interface}", name, value)

    def objects(self):
        """Path to interfaces to properties, of everything that this client may see."""
        return self.call(ROOT, OBJECTS, "GetManagedObjects")

    def signal(self, what, matches):
        """The first signal so far or from now on for which `matches` holds; it is taken out."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for signal in self.signals:
                if matches(signal):
                    self.signals.remove(signal)
                    return signal
            self._receive(deadline, f"no signal: {what}; there were {self.signals}")

    def changed(self, path, interface, name, value):
        """Waits for the announcement that a property has become `value`."""

        def says(signal):
            if (signal.path, signal.name) != (path, "PropertiesChanged"):
                return False
            assert signal.signature == "sa{sv}as", signal.signature
            of, changed, _ = signal.body
            return of == f"{NAME}.{interface}" and changed.get(name, (None, None))[1] == value

        return self.signal(f"{path} {name} = {value}", says)

    def _call(self, message):
        return self._exchange(message).body

    def _exchange(self, message):
        if self.peer:
            # There is no bus that would know names.
            del message.header.fields[HeaderFields.destination]
        serial = next(self.connection.outgoing_serial)
        self.connection.sock.sendall(message.serialise(serial=serial))
        deadline = time.monotonic() + PATIENCE
        while True:
            reply = self._receive(deadline, f"no reply to {message.header.fields}")
            if reply.header.fields.get(HeaderFields.reply_serial) != serial:
                continue
            if reply.header.message_type == MessageType.error:
                raise Refused(reply.header.fields[HeaderFields.error_name], *reply.body[:1])
            return reply

    def _receive(self, deadline, otherwise):
        try:
            message = self.connection._receive(deadline)
        except TimeoutError:
            raise AssertionError(otherwise) from None
        if message.header.message_type == MessageType.signal:
            self.signals.append(Signal(message))
            self.on_signal(self.signals[-1])
        if message.header.message_type == MessageType.method_call:
            self._answer(message)
        return message

    def _answer(self, call):
        fields = call.header.fields
        path, answer = self.object or (None, None)
        try:
            if fields[HeaderFields.path] != path:
                raise Refused("org.freedesktop.DBus.Error.UnknownObject", "there is no such object")
            member, interface = fields[HeaderFields.member], fields.get(HeaderFields.interface)
            reply = new_method_return(call, *answer(interface, member, self.signature(call), call.body))
        except Refused as refusal:
            reply = new_error(call, refusal.name, "s", (refusal.text,))
        if self.peer:
            reply.header.fields.pop(HeaderFields.destination, None)
        self.connection.sock.sendall(reply.serialise(serial=next(self.connection.outgoing_serial)))


@contextmanager
def refused(name):
    """What is called within is refused with the error `name`, and with a text."""
    try:
        yield
    except Refused as error:
        full = name if "." in name else f"{NAME}.Error.{name}"
        assert error.name == full, f"{error}, expected {full}"
        assert error.text.strip(), f"{full} says nothing"
    else:
        raise AssertionError(f"not refused; expected {name}")


def eventually(what, condition):
    """Looks until `condition` gives something true."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"still not so: {what}"
        time.sleep(0.05)
    return found
