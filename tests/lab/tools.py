"""Three clients of D-Bus that are not ours, alike: jeepney, systemd's busctl and GLib's gdbus.

Each has `call`, `get`, `set` and `signal`, and notes in `seen` which members of the contract it has used: a method that answered,
a property that was read (or set), a signal that came. Values are plain: variants are unwrapped.
"""

import json
import re
import subprocess
import threading
import time

import contract
from bus import NAME, PATIENCE, PROPERTIES, Client, Refused
from seat import Seat


class Tool:
    """What the three share."""

    def __init__(self):
        self.seen = set()
        # (path, interface, member, values) of each signal, in order.
        self.heard = []
        # (interface, property) that PropertiesChanged named.
        self.changed = set()

    def call(self, path, interface, method, signature="", *args):
        """Calls a method of ours; `interface` without our prefix. The values that it answers, in a list."""
        values, types = self.answer(path, f"{NAME}.{interface}", method, signature, args)
        expected = "".join(kind for way, kind, _ in contract.documented(interface)["method", method][0] if way == "out")
        assert types is None or types == expected, f"{method} answers {types}, documented is {expected}"
        self.seen.add(("method", f"{interface}.{method}"))
        return values

    def get(self, path, interface, name):
        (value,), types = self.answer(path, PROPERTIES, "Get", "ss", (f"{NAME}.{interface}", name))
        self.seen.add(("property", f"{interface}.{name}"))
        return value

    def set(self, path, interface, name, signature, value):
        self.answer(path, PROPERTIES, "Set", "ssv", (f"{NAME}.{interface}", name, (signature, value)))
        self.seen.add(("set", f"{interface}.{name}"))

    def hear(self, path, interface, member, values):
        if interface == PROPERTIES:
            of, changed, _ = values
            self.changed |= {(of.removeprefix(f"{NAME}."), name) for name in changed}
        elif interface.startswith(NAME):
            self.seen.add(("signal", f"{interface.removeprefix(NAME + '.')}.{member}"))
        self.heard.append((path, interface, member, values))

    def signal(self, path, member, matches=lambda values: True):
        """Waits until such a signal has come."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for at, _, name, values in list(self.heard):
                if (at, name) == (path, member) and matches(values):
                    return values
            assert time.monotonic() < deadline, f"no {member} of {path}; there were {self.heard}"
            self.wait()

    def wait(self):
        time.sleep(0.02)

    def close(self):
        pass


class Jeepney(Tool):
    """In this process, on a connection of its own."""

    def __init__(self, socket):
        super().__init__()
        self.client = Client(socket, False)
        self.client.on_signal = lambda signal: self.hear(signal.path, signal.interface, signal.name, [plain(value) for value in signal.body])

    def answer(self, path, interface, method, signature, args):
        reply = self.client.exchange(path, interface, method, signature, args)
        return [plain(value) for value in reply.body], self.client.signature(reply)

    def wait(self):
        self.client.pump(0.05)

    def close(self):
        self.client.close()


class Program(Tool):
    """A program that runs for one call, at a seat of its own; another one of it monitors."""

    def __init__(self, socket):
        super().__init__()
        self.seat = Seat(Client(socket, False))
        self.monitor = subprocess.Popen(self.monitoring(), stdout=subprocess.PIPE, text=True)
        assert self.seat.monitored.acquire(timeout=PATIENCE), "it does not monitor"
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.monitor.stdout:
            if (signal := self.parse(line)) is not None:
                self.hear(*signal)

    def run(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode != 0:
            raise Refused(done.stderr.strip(), " ".join(command))
        return done.stdout

    def close(self):
        self.monitor.kill()
        self.monitor.wait()


class Busctl(Program):
    def monitoring(self):
        # It would keep lines back otherwise, writing to a pipe.
        return ["stdbuf", "-oL", "busctl", f"--address={self.seat.address}", "--json=short", "monitor", NAME]

    def answer(self, path, interface, method, signature, args):
        given = [text for kind, value in zip(split(signature), args) for text in words(kind, value)]
        command = ["busctl", f"--address={self.seat.address}", "--json=short", "call", NAME, path, interface, method]
        told = self.run(*command, *([signature, *given] if signature else []))
        if not told.strip():
            return [], ""
        reply = json.loads(told)
        return [unwrap(value) for value in reply["data"]], reply["type"]

    def parse(self, line):
        try:
            message = json.loads(line)
        except ValueError:
            return None
        if message.get("type") != "signal":
            return None
        values = [unwrap(value) for value in message["payload"]["data"]]
        return message["path"], message["interface"], message["member"], values


class Gdbus(Program):
    def monitoring(self):
        return ["gdbus", "monitor", "--address", self.seat.address, "--dest", NAME]

    def answer(self, path, interface, method, signature, args):
        given = [variant(kind, value) for kind, value in zip(split(signature), args)]
        command = ["gdbus", "call", "--address", self.seat.address, "--dest", NAME, "--object-path", path]
        told = self.run(*command, "--method", f"{interface}.{method}", "--", *given)
        return list(Text(told).value()), None

    def parse(self, line):
        found = re.fullmatch(r"(/\S+): (\S+)\.(\w+) (\(.*\))\n?", line)
        return found and (found[1], found[2], found[3], list(Text(found[4]).value()))


TOOLS = {"jeepney": Jeepney, "busctl": Busctl, "gdbus": Gdbus}


def split(signature):
    """The complete types of a signature."""
    return re.findall(r"a\{sv\}|a?[a-z]", signature)


def plain(value):
    """jeepney's values without their types."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and split(value[0]) == [value[0]]:
        return plain(value[1])
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    return value


def unwrap(value):
    """busctl's JSON without types."""
    if isinstance(value, dict) and value.keys() == {"type", "data"}:
        return unwrap(value["data"])
    if isinstance(value, dict):
        return {key: unwrap(item) for key, item in value.items()}
    return [unwrap(item) for item in value] if isinstance(value, list) else value


def words(kind, value):
    """A value as busctl takes it."""
    if kind == "ay":
        return [str(len(value)), *map(str, value)]
    if kind == "a{sv}":
        return [str(len(value)), *(word for key, (of, item) in value.items() for word in (key, of, *words(of, item)))]
    if kind == "v":
        return [value[0], *words(*value)]
    return [str(value).lower() if kind == "b" else str(value)]


PREFIXES = {"u": "uint32 ", "t": "uint64 ", "q": "uint16 ", "o": "objectpath ", "ay": "@ay ", "a{sv}": "@a{sv} "}


def variant(kind, value):
    """A value as gdbus takes it: GVariant's text."""
    if kind == "ay":
        text = f"[{', '.join(f'0x{byte:02x}' for byte in value)}]"
    elif kind == "a{sv}":
        text = "{" + ", ".join(f"{variant('s', key)}: {variant('v', item)}" for key, item in value.items()) + "}"
    elif kind == "v":
        text = f"<{variant(*value)}>"
    elif kind in "so":
        text = "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    else:
        text = str(value).lower()
    return PREFIXES.get(kind, "") + text


class Text:
    """GVariant's text, as gdbus prints it."""

    TOKEN = re.compile(r"""\s*(b?'(?:\\.|[^'\\])*'|b?"(?:\\.|[^"\\])*"|@[a-z(){}]+|[\w.+-]+|.)""", re.S)
    CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}

    def __init__(self, text):
        self.tokens = self.TOKEN.findall(text.strip())

    def value(self):
        token = self.tokens.pop(0)
        if token[0] == "@" or token in ("byte", "uint16", "uint32", "uint64", "int64", "objectpath"):
            return self.value()
        if token in self.CLOSING:
            return self.items(token)
        if token[0] in "'\"":
            return unescape(token[1:-1])
        if token[0] == "b" and token[1:2] in ("'", '"'):
            return list(unescape(token[2:-1]).encode("latin-1"))
        return {"true": True, "false": False}[token] if token in ("true", "false") else int(token, 0)

    def items(self, opening):
        found = []
        while self.tokens[0] != self.CLOSING[opening]:
            item = self.value()
            if self.tokens[0] == ":":
                self.tokens.pop(0)
                item = (item, self.value())
            found.append(item)
            if self.tokens[0] == ",":
                self.tokens.pop(0)
        self.tokens.pop(0)
        return {"(": tuple, "[": list, "{": dict, "<": lambda inner: inner[0]}[opening](found)


def unescape(text):
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "t": "\t"}.get(found[1], found[1]), text)
