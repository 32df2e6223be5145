"""The documented XML of the interfaces, and live introspection beside it."""

from pathlib import Path
from xml.etree import ElementTree

from bus import INTROSPECTABLE, NAME

DOCUMENTED = Path(__file__).parents[2] / "proto" / "dbus"


def members(interface):
    """An interface's members: (kind, name) to its arguments and attributes, in order, and its annotations."""
    found = {}
    for member in interface:
        if member.tag == "annotation":
            continue
        arguments = [
            (arg.get("direction", "out" if member.tag == "signal" else "in"), arg.get("type"), arg.get("name"))
            for arg in member.findall("arg")
        ]
        notes = {note.get("name"): note.get("value") for note in member.findall("annotation")}
        key = (member.tag, member.get("name"))
        assert key not in found, f"twice: {key}"
        found[key] = (arguments, member.get("type"), member.get("access"), notes)
    return found


def documented(name):
    tree = ElementTree.parse(DOCUMENTED / f"{NAME}.{name}.xml")
    return members(tree.find(f"interface[@name='{NAME}.{name}']"))


def live(client, path, name):
    tree = ElementTree.fromstring(client.call(path, INTROSPECTABLE, "Introspect"))
    interface = tree.find(f"interface[@name='{NAME}.{name}']")
    assert interface is not None, f"{path} does not have {name}"
    return members(interface)


def check(client, path, name):
    """The object at `path` has the interface as documented, and each property the type that it says."""
    expected, found = documented(name), live(client, path, name)
    assert len(expected) > 8, "the contract was not read"
    for key in expected.keys() | found.keys():
        assert expected.get(key) == found.get(key), f"{name} {key}: {expected.get(key)} but live {found.get(key)}"
    types = {member: entry[1] for (kind, member), entry in expected.items() if kind == "property"}
    values = {member: value[0] for member, value in client.all(path, name).items()}
    assert types == values, f"{name}: properties {types} but live {values}"
