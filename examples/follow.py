#!/usr/bin/env python3
"""An app's view of Kinlink: makes a session, writes to it, and prints what changes in it on any device.

    follow.py [TITLE]

Needs the session bus, kinlinkd on it, and jeepney (Debian: python3-jeepney). Ends when the session is ended,
from whichever device: try `kinctl session end TITLE`.
"""

import sys

from jeepney import DBusAddress, MatchRule, message_bus, new_method_call
from jeepney.io.blocking import Proxy, open_dbus_connection
from jeepney.wrappers import unwrap_msg

NAME, ROOT, APP = "org.kinlink.Kinlink1", "/org/kinlink/Kinlink1", "org.example.Follow"


def call(bus, path, interface, method, signature, *args):
    """Calls a method; every one ends in options, of which there are none here."""
    address = DBusAddress(path, NAME, f"{NAME}.{interface}")
    return unwrap_msg(bus.send_and_get_reply(new_method_call(address, method, signature + "a{sv}", (*args, {}))))


def main():
    title = sys.argv[1] if len(sys.argv) > 1 else "Follow me"
    bus = open_dbus_connection("SESSION")
    # Signals of sessions are sent to subscribers alone, so no match rule has to be added on the bus; this one sorts them
    # out here, by the daemon's unique name: anybody on the bus can send a signal.
    (owner,) = Proxy(message_bus, bus).GetNameOwner(NAME)
    rule = MatchRule(type="signal", sender=owner, interface=f"{NAME}.Session")
    with bus.filter(rule, bufsize=256) as signals:
        call(bus, ROOT, "Manager", "Subscribe", "")
        (session,) = call(bus, ROOT, "Manager", "CreateSession", "ss", APP, title)
        call(bus, session, "Session", "Put", "say", "greeting", b"hello")
        print(f"Following {title!r}: {session}", flush=True)
        while True:
            signal = bus.recv_until_filtered(signals)
            if signal.header.fields[1] != session:
                continue
            member = signal.header.fields[3]
            if member == "Ended":
                _, by, reason = signal.body
                print(f"Ended by {by}: {reason}" if reason else f"Ended by {by}.")
                return
            key, kind, device = signal.body
            if kind == "delete":
                print(f"{device[:8]} deleted {key}", flush=True)
                continue
            value, _ = call(bus, session, "Session", "Get", "s", key)
            print(f"{device[:8]} wrote {key} = {value.decode(errors='replace')}", flush=True)


if __name__ == "__main__":
    main()
