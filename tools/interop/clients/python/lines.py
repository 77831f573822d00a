"""The line protocol of the interoperability programs (tools/interop/clients/README.md), for those in Python."""

import sys


class Skip(Exception):
    """Raised for a value or a request that this client does not support, with the reason."""


class Config:
    """A profile, options by name, servers as (host, port, weight)."""

    def __init__(self, words):
        self.profile, options, *servers = words.split(" ")
        self.options = dict(option.partition("=")[::2] for option in options.split(","))
        self.servers = []
        for server in servers:
            host, port, weight = server.rsplit(":", 2)
            self.servers.append((host, int(port), int(weight)))


def serve(open_client):
    """Replies to each line with one line until the end of the input."""
    client = None
    for line in sys.stdin.buffer:
        word, _, rest = line.decode().rstrip("\n").partition(" ")
        try:
            if word == "config":
                client = open_client(Config(rest))
                answer = "ready " + client.version
            else:
                answer = COMMANDS[word](client, *rest.split(" ", 1))
        except Skip as reason:
            answer = "skip %s" % reason
        except Exception as error:
            answer = "error %s: %s" % (type(error).__name__, " ".join(str(error).split()))
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


def store(client, key, value):
    client.set(bytes.fromhex(key), unhex(value))
    return "stored"


def fetch(client, key):
    value = client.get(bytes.fromhex(key))
    return "miss" if value is None else "hit " + (value.hex() or "-")


def route(client, key):
    return "server " + client.route(bytes.fromhex(key))


def write(client, key, description):
    client.write(bytes.fromhex(key), build(*description.split(" ")))
    return "stored"


def read(client, key):
    return "value %s 1 %s" % describe(client.read(bytes.fromhex(key)))


COMMANDS = {"set": store, "get": fetch, "route": route, "write": write, "read": read}


def build(kind, times, value):
    """Returns the Python value of a description; - stands for no bytes."""
    if kind == "text":
        return unhex(value).decode() * int(times)
    if kind == "bytes":
        return unhex(value) * int(times)
    if kind == "int":
        return int(value)
    if kind == "bool":
        return value == "true"
    if kind == "float":
        return float(value)
    if kind == "list":
        return [1, "two", 3.0]
    if kind == "none":
        return None
    raise Skip("no %s" % kind)


def describe(value):
    """Describes a value in the notation of the line protocol."""
    if value is None:
        return "none", "-"
    if isinstance(value, bool):
        return "bool", "true" if value else "false"
    if isinstance(value, int):
        return "int", str(value)
    if isinstance(value, float):
        return "float", repr(value)
    if isinstance(value, str):
        return "text", value.encode().hex() or "-"
    if isinstance(value, bytes):
        return "bytes", value.hex() or "-"
    if value == [1, "two", 3.0]:
        return "list", "-"
    raise TypeError("a value of the type %s" % type(value).__name__)


def unhex(text):
    return b"" if text == "-" else bytes.fromhex(text)
