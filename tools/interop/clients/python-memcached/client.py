"""python-memcached with the line protocol."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "python"))
import memcache
from lines import serve


class Client:
    version = memcache.__version__

    def __init__(self, config):
        servers = [("%s:%d" % (host, port), weight) for host, port, weight in config.servers]
        self.threshold = int(config.options.get("min_compress_len", "0"))
        self.client = memcache.Client(servers)
        # Before it returns the server of a key it connects, and returns another server if it cannot.
        self.router = memcache.Client(servers)
        for server in self.router.servers:
            server.connect = lambda: True

    def set(self, key, value):
        assert self.client.set(key.decode(), value)

    def get(self, key):
        return self.client.get(key.decode())

    def route(self, key):
        # Keys as text are encoded before they are hashed.
        server, _ = self.router._get_server(key)
        return "%s:%d" % server.address

    def write(self, key, value):
        assert self.client.set(key.decode(), value, min_compress_len=self.threshold)

    def read(self, key):
        return self.client.get(key.decode())


serve(Client)
