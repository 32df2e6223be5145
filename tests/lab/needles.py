"""Searches a capture for words in every form in which they could stand there.

needles.py FILE WORD...            lists those found, one a line: the form, then the word
needles.py --send ADDRESS WORD     sends the word in each of its forms there, a datagram each, and lists them

WORD is text, or 0x and hexadecimal digits for bytes.
"""

import base64
import socket
import sys


def forms(word):
    """The forms of a word: name to bytes. All are searched for without regard to case."""
    if word.startswith("0x"):
        plain = {"bytes": bytes.fromhex(word[2:])}
    else:
        plain = {"text": word.encode(), "utf-16le": word.encode("utf-16-le"), "utf-16be": word.encode("utf-16-be")}
    found = dict(plain)
    for name, value in plain.items():
        found[f"{name} in hex"] = value.hex().encode()
        found[f"{name} in hex with colons"] = value.hex(":").encode()
        for shift in range(3):
            # Whatever stands before it: only the characters that this word alone decides.
            whole = base64.b64encode(bytes(shift) + value)
            begin = (shift * 8 + 5) // 6
            end = (shift + len(value)) * 8 // 6
            found[f"{name} in base64, {shift} bytes in"] = whole[begin:end]
            found[f"{name} in base64url, {shift} bytes in"] = whole[begin:end].replace(b"+", b"-").replace(b"/", b"_")
        found[f"{name} in base32"] = base64.b32encode(value)[: len(value) * 8 // 5]
    return found


def search(haystack, words):
    lower = haystack.lower()
    for word in words:
        for name, form in forms(word).items():
            assert len(form) >= 5, f"{word!r} is too short to be looked for"
            if form.lower() in lower:
                yield name, word


if __name__ == "__main__":
    if sys.argv[1] == "--send":
        for name, form in forms(sys.argv[3]).items():
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(form, (sys.argv[2], 9))
            print(f"{name}: {sys.argv[3]}")
    else:
        with open(sys.argv[1], "rb") as file:
            for name, word in search(file.read(), sys.argv[2:]):
                print(f"{name}: {word}")
