#!/usr/bin/env python3
"""Links a device with prompts of its own: what a desktop's settings would do with windows.

    agent.py show             on the device that is in: prints the challenge, then asks for the code
    agent.py join CHALLENGE   on the new one: asks whether to join, then shows the code

Needs the session bus, kinlinkd on it, and jeepney (Debian: python3-jeepney).
"""

import sys

from jeepney import DBusAddress, HeaderFields, MatchRule, MessageType, message_bus, new_error, new_method_call
from jeepney import new_method_return
from jeepney.io.blocking import Proxy, open_dbus_connection
from jeepney.wrappers import unwrap_msg

NAME, ROOT, AGENT = "org.kinlink.Kinlink1", "/org/kinlink/Kinlink1", "/org/example/agent"
REJECTED = f"{NAME}.Agent.Error.Rejected"


class Rejected(Exception):
    """The user said no."""


def enter_code(_pairing, properties, options):
    """The code must be typed, off the other screen: it is the proof of having looked at the right machine."""
    if "Error" in options:
        print(options["Error"][1])
    peer = {name: value for name, (_, value) in properties.items()}
    print(f"{peer['PeerName']} ({peer['PeerPlatform']}, {peer['PeerAddress']}), {peer['TriesLeft']} tries left")
    print(f"fingerprint {peer['PeerFingerprint']}")
    code = input("The code that it shows, or nothing to refuse: ").strip()
    if not code:
        raise Rejected
    return "s", (code,)


def confirm_join(_pairing, properties, options):
    offer = {name: value for name, (_, value) in properties.items()}
    print(f"{offer['PeerName']} offers to join {offer['AccountLabel']!r} as {offer['Role']}")
    print(f"fingerprint {offer['PeerFingerprint']}")
    if input("Join? [y/N] ").strip().lower() != "y":
        raise Rejected
    answer = {}
    if "Error" in options:
        bring = input("Bring the sessions of this device along? [Y/n] ").strip().lower() != "n"
        answer = {"sessions": ("s", "bring" if bring else "discard")}
    return "a{sv}", (answer,)


def show_code(_pairing, code, _properties, _options):
    print(f"Type this on the other device: {code}", flush=True)
    return None, ()


def cancel(_pairing, error, _options):
    print(f"Not linked: {error}" if error else "Linked.", flush=True)
    return None, ()


METHODS = {"EnterCode": enter_code, "ConfirmJoin": confirm_join, "ShowCode": show_code, "Cancel": cancel}


def call(bus, method, signature, *args):
    address = DBusAddress(ROOT, NAME, f"{NAME}.Manager")
    return unwrap_msg(bus.send_and_get_reply(new_method_call(address, method, signature, args)))


def answer(bus, message):
    """Answers a call of kinlinkd; returns whether the pairing is over."""
    member = message.header.fields[HeaderFields.member]
    try:
        bus.send(new_method_return(message, *METHODS[member](*message.body)))
    except Rejected:
        bus.send(new_error(message, REJECTED, "s", ("the user said no",)))
    return member == "Cancel"


def main():
    bus = open_dbus_connection("SESSION")
    (owner,) = Proxy(message_bus, bus).GetNameOwner(NAME)
    # Only kinlinkd's own calls are answered: anybody on the bus could make such a call.
    rule = MatchRule(type=MessageType.method_call, sender=owner, path=AGENT)
    with bus.filter(rule, bufsize=16) as calls:
        call(bus, "RegisterAgent", "oa{sv}", AGENT, {})
        if sys.argv[1:] == ["show"]:
            print("On the new device: agent.py join", call(bus, "OpenPairing", "a{sv}", {})[2], flush=True)
        elif len(sys.argv) == 3 and sys.argv[1] == "join":
            call(bus, "Join", "sa{sv}", sys.argv[2], {})
        else:
            sys.exit(__doc__)
        while not answer(bus, bus.recv_until_filtered(calls)):
            pass


if __name__ == "__main__":
    main()
