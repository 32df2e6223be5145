"""Two devices are linked by the agents of two programs; others are not asked. Every call of the Agent interface comes.

agents.py bus|peer SOCKET_OF_ANNA SOCKET_OF_BERT
"""

import sys

import contract
from bus import NAME, ROOT, Client, Refused, eventually

PATH = "/org/example/agent"
INTERFACE = f"{NAME}.Agent"


def say(text):
    print(f"ok: {text}", flush=True)


class Agent:
    """A program with prompts of its own. `answers` says what its user does: method to a value, or an error's name."""

    def __init__(self, client, **answers):
        self.client, self.answers, self.calls = client, answers, []
        client.provide(PATH, self.answer)
        client.manager("RegisterAgent", "oa{sv}", PATH, {})

    def answer(self, interface, method, signature, values):
        assert interface == INTERFACE, interface
        arguments = contract.documented("Agent")["method", method][0]
        ways = {way: "".join(kind for w, kind, _ in arguments if w == way) for way in ("in", "out")}
        assert signature == ways["in"], f"{method} came with {signature}, documented is {ways['in']}"
        self.calls.append((method, values))
        given = self.answers.get(method, ())
        given = given(values) if callable(given) else given
        if isinstance(given, str) and given.startswith(NAME):
            raise Refused(given, "the user did not want to")
        return (ways["out"], (given,)) if ways["out"] else (None, ())

    def last(self, method, fits=lambda values: True):
        """The last call of a method that fits, once there was one."""

        def found():
            self.client.pump(0.05)
            return next((values for name, values in reversed(self.calls) if name == method and fits(values)), None)

        return eventually(f"{method} is called; there were {self.calls}", found)


class Lab:
    def __init__(self, kind, sockets):
        self.connect = [lambda socket=socket: Client(socket, kind == "peer") for socket in sockets]

    def pair(self, anna, bert):
        shown, _, text, _ = anna.manager("OpenPairing")
        return shown, bert.manager("Join", "sa{sv}", text, {"name": ("s", "bert")})

    def ends(self, client, pairing, *states):
        def ended():
            client.pump(0.05)
            return client.get(pairing, "Pairing", "State") in states

        eventually(f"{pairing} is {states}", ended)

    def rejected(self, error):
        """Either side says no in its own prompt, and both prompts go away."""
        anna, bert = (connect() for connect in self.connect)
        shower, joiner = Agent(anna), Agent(bert, ConfirmJoin=f"{INTERFACE}.Error.{error}")
        shown, joined = self.pair(anna, bert)
        pairing, properties, _ = joiner.last("ConfirmJoin")
        assert pairing == joined and properties["PeerName"][1] and properties["Role"] == ("s", "owner"), properties
        self.ends(bert, joined, "cancelled", "failed")
        assert joiner.last("Cancel")[1].startswith(NAME), joiner.calls
        anna.call(shown, "Pairing", "Cancel", "a{sv}", {})
        assert shower.last("Cancel")[0] == shown
        assert not any(name == "EnterCode" for name, _ in shower.calls)
        anna.close()
        bert.close()
        say(f"an agent that answers {error} cancels")

    def taken_back(self):
        """An agent that leaves its question unanswered and is taken back cancels the pairing."""
        anna, bert = (connect() for connect in self.connect)
        joiner = Agent(bert)
        # It answers no call from now on.
        bert.provide(PATH, lambda *_: (None, ()))
        bert.object = None
        _, joined = self.pair(anna, bert)
        self.ends(bert, joined, "cancelled", "failed")
        assert not joiner.calls
        anna.close()
        bert.close()
        say("an agent without the object cancels")

    def linked(self):
        anna, bert, other = self.connect[0](), self.connect[1](), self.connect[0]()
        bystander = Agent(other)
        typed = []

        def enter(values):
            """First nonsense, then a wrong code, then the right one."""
            _, properties, options = values
            tries = properties["TriesLeft"][1]
            code = joiner.last("ShowCode", lambda values: values[2]["TriesLeft"][1] == tries)[1]
            typed.append((tries, options.get("Error", ("", ""))[1]))
            if len(typed) == 1:
                return "what?"
            return f"{(int(code) + 1) % 10**6:06}" if len(typed) == 2 else f"{code[:3]} {code[3:]}"

        joiner = Agent(bert, ConfirmJoin={})
        shower = Agent(anna, EnterCode=enter)
        shown, joined = self.pair(anna, bert)
        joiner.last("ShowCode")
        assert shower.last("Cancel")[:2] == (shown, ""), shower.calls
        assert joiner.last("Cancel")[:2] == (joined, ""), joiner.calls
        assert [tries for tries, _ in typed] == [3, 3, 2] and typed[1][1] and not typed[2][1], typed
        assert len({values[1] for name, values in joiner.calls if name == "ShowCode"}) == 2, "a code for each try"
        eventually("bert is linked", lambda: bert.get(ROOT, "Manager", "State") == "linked")
        other.pump(0.05)
        assert other.get(ROOT, "Manager", "State") == "linked"
        assert not bystander.calls, bystander.calls
        called = {name for name, _ in shower.calls + joiner.calls}
        # Nobody is asked for a PIN where none is set; what sets one goes through pipes, which this client has not.
        documented = {name for kind, name in contract.documented("Agent") if kind == "method"} - {"RequestPin"}
        assert called == documented, f"not called: {sorted(documented - called)}"
        say("two agents linked two devices, and nobody else was asked")


if __name__ == "__main__":
    kind, *sockets = sys.argv[1:]
    lab = Lab(kind, sockets)
    lab.rejected("Rejected")
    lab.rejected("Canceled")
    lab.taken_back()
    lab.linked()
