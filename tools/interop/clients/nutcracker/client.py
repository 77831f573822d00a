"""nutcracker (twemproxy) in front of the servers, with the line protocol."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "python"))
from lines import Skip, serve

CONFIG = """interop:
  listen: %(listen)s
  hash: %(hash)s
  distribution: %(distribution)s
  auto_eject_hosts: false
  timeout: 5000
%(more)s  servers:
%(servers)s
"""
DISTRIBUTIONS = {"twemproxy": "ketama", "twemproxy-modula": "modula"}


class Client:
    proxy = None

    def __init__(self, config):
        Client.stop()
        self.dir = tempfile.TemporaryDirectory(prefix="nutcracker-")
        listen = os.path.join(self.dir.name, "proxy.sock")
        servers = ["   - %s:%d:%d" % server for server in config.servers]
        path = os.path.join(self.dir.name, "nutcracker.yml")
        tag = config.options.get("hash_tag")
        with open(path, "w") as file:
            file.write(CONFIG % {
                "listen": listen,
                "hash": config.options.get("hash", "fnv1a_64"),
                "distribution": DISTRIBUTIONS[config.profile],
                "more": '  hash_tag: "%s"\n' % tag if tag else "",
                "servers": "\n".join(servers),
            })
        program = os.environ.get("NUTCRACKER", "nutcracker")
        output = subprocess.run([program, "--version"], capture_output=True, text=True)
        self.version = re.search(r"nutcracker-(\S+)", output.stdout + output.stderr)[1]
        log = os.path.join(self.dir.name, "log")
        # A port for its statistics is required.
        command = [program, "-c", path, "-o", log, "-a", "127.0.0.1", "-s", str(unused_port())]
        Client.proxy = subprocess.Popen(command)
        self.connection = connect(listen, log)
        self.input = self.connection.makefile("rb")

    @staticmethod
    def stop():
        if Client.proxy is not None:
            Client.proxy.kill()
            Client.proxy.wait()
            Client.proxy = None

    def set(self, key, value):
        self.connection.sendall(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value))
        answer = self.input.readline()
        if answer != b"STORED\r\n":
            raise RuntimeError("set was answered %r" % answer)

    def get(self, key):
        self.connection.sendall(b"get %s\r\n" % key)
        answer = self.input.readline()
        if answer == b"END\r\n":
            return None
        word, _, _, length = answer.split()
        if word != b"VALUE":
            raise RuntimeError("get was answered %r" % answer)
        value = self.input.read(int(length))
        assert self.input.read(7) == b"\r\nEND\r\n"
        return value

    def route(self, key):
        raise Skip("the proxy does not report routes")


def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def connect(path, log):
    """Connects as soon as the proxy accepts connections; fails with its output if it exits before."""
    for _ in range(2000):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
            return connection
        except OSError:
            connection.close()
        if Client.proxy.poll() is not None:
            break
        time.sleep(0.005)
    with open(log) as file:
        raise RuntimeError("nutcracker does not listen: " + file.read())


try:
    serve(Client)
finally:
    Client.stop()
