"""pymemcache with the line protocol."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "python"))
import pymemcache
from lines import serve
from pymemcache.client.hash import HashClient
from pymemcache.serde import compressed_serde, pickle_serde

SERDES = {"none": None, "pickle": pickle_serde, "compressed": compressed_serde}


class Client:
    version = pymemcache.__version__

    def __init__(self, config):
        servers = [(host, port) for host, port, _ in config.servers]
        serde = SERDES[config.options.get("serde", "none")]
        # Keys as bytes have another hash than keys as text.
        self.key = bytes if config.profile == "pymemcache-bytes" else bytes.decode
        self.client = HashClient(servers, serde=serde, allow_unicode_keys=True, default_noreply=False)

    def set(self, key, value):
        assert self.client.set(self.key(key), value)

    def get(self, key):
        return self.client.get(self.key(key))

    def route(self, key):
        return self.client.hasher.get_node(self.key(key))

    def write(self, key, value):
        # Without a serde numbers are text, and text has to be ASCII.
        assert self.client.set(self.key(key), value)

    def read(self, key):
        return self.client.get(self.key(key))


serve(Client)
