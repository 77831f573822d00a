"""pylibmc with the line protocol."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "python"))
import pylibmc
from lines import Skip, serve

BEHAVIORS = {
    "pylibmc": {},
    "pylibmc-ketama": {"ketama": True},
    "pylibmc-ketama-weighted": {"ketama_weighted": True},
}


class Client:
    version = pylibmc.__version__

    def __init__(self, config):
        servers = ["%s:%d:%d" % server for server in config.servers]
        self.threshold = int(config.options.get("min_compress_len", "0"))
        self.client = pylibmc.Client(servers, binary="binary" in config.options, behaviors=BEHAVIORS[config.profile])

    def set(self, key, value):
        assert self.client.set(key, value)

    def get(self, key):
        return self.client.get(key)

    def route(self, key):
        raise Skip("no routing function")

    def write(self, key, value):
        assert self.client.set(key, value, min_compress_len=self.threshold)

    def read(self, key):
        return self.client[key]


serve(Client)
