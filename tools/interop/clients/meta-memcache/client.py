"""meta-memcache, whose ring is uhashring's, with the line protocol."""

import os
import sys
from importlib.metadata import version

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "python"))
from lines import serve
from meta_memcache import CacheClient, Key, ServerAddress, connection_pool_factory_builder
from meta_memcache.configuration import build_server_pool
from meta_memcache.connection.providers import HashRingConnectionPoolProvider


class Client:
    version = "%s, uhashring %s" % (version("meta-memcache"), version("uhashring"))

    def __init__(self, config):
        servers = [ServerAddress(host, port) for host, port, _ in config.servers]
        # No connection is opened in advance: the servers of a ring need not exist.
        factory = connection_pool_factory_builder(initial_pool_size=0)
        self.provider = HashRingConnectionPoolProvider(build_server_pool(servers, factory))
        self.client = CacheClient.cache_client_from_servers(servers=servers, connection_pool_factory_fn=factory)

    def set(self, key, value):
        assert self.client.set(Key(key.decode()), value, ttl=0)

    def get(self, key):
        # Flags of zero mean text here.
        value = self.client.get(Key(key.decode()))
        return value.encode() if isinstance(value, str) else value

    def route(self, key):
        return self.provider.get_pool(Key(key.decode())).server

    def write(self, key, value):
        assert self.client.set(Key(key.decode()), value, ttl=0)

    def read(self, key):
        return self.client.get(Key(key.decode()))


serve(Client)
