"""A client that somebody else steers: each line of standard input is a call, each line of output what came of it.

    steered.py bus|peer SOCKET
"""

import json
import sys

from bus import Client, Refused


def plain(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def main(kind, socket):
    client = Client(socket, kind == "peer")
    for line in sys.stdin:
        path, interface, method, signature, arguments = json.loads(line)
        # JSON has no bytes.
        arguments = [a.encode() if t == "ay" else a for t, a in zip(signature.split(), arguments)]
        try:
            said = {"reply": client.call(path, interface, method, signature.replace(" ", ""), *arguments)}
        except Refused as refusal:
            said = {"refused": refusal.name, "text": refusal.text}
        said["signals"] = [[s.path, s.interface, s.name, s.body] for s in client.signals]
        client.signals.clear()
        print(json.dumps(said, default=plain), flush=True)


main(*sys.argv[1:])
