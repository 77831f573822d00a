#!/usr/bin/env python3
"""Placement by the definitions of other clients, written a second time and in another language.

For clients that no registry within reach has, so that they cannot be asked themselves. What is printed is
`definitions.json` beside this file: python3 definitions.py > definitions.json (with `pip install xxhash`).
"""

import bisect
import hashlib
import json
import struct
import zlib

import xxhash

# Name, address, port.
SERVERS = [
    ("cache-a.example", "10.0.1.1", 11211),
    ("cache-b.example", "10.0.1.2", 11211),
    ("cache-c.example", "10.0.1.3", 11212),
    ("cache-d.example", "10.0.1.4", 11213),
    ("cache-e.example", "10.0.1.5", 11211),
]
KEYS = [f"key-{n}" for n in range(200)] + ["a", "user:42:profile", "été", "x" * 250, "日本", "_", "0"]
N = len(SERVERS)


def words(digest):
    return struct.unpack("<4I", digest[:16])


def md5(text):
    return words(hashlib.md5(text.encode()).digest())


def sha384(text):
    return words(hashlib.sha384(text.encode()).digest())


def one_at_a_time(text):
    h = 0
    for byte in text.encode():
        c = byte if byte < 128 else byte | 0xFFFFFF00
        h = (h + c) & 0xFFFFFFFF
        h = (h + (h << 10)) & 0xFFFFFFFF
        h ^= h >> 6
    h = (h + (h << 3)) & 0xFFFFFFFF
    h ^= h >> 11
    return (h + (h << 15)) & 0xFFFFFFFF


def fnv1a_32(text):
    h = 2166136261
    for byte in text.encode():
        h = ((h ^ byte) * 16777619) & 0xFFFFFFFF
    return h


def java_hash(text):
    units = struct.unpack(f"<{len(text.encode('utf-16-le')) // 2}H", text.encode("utf-16-le"))
    h = 0
    for unit in units:
        h = (31 * h + unit) & 0xFFFFFFFF
    return h


def murmur3_32(data):
    h = 0
    for at in range(0, len(data) // 4 * 4, 4):
        (k,) = struct.unpack_from("<I", data, at)
        k = k * 0xCC9E2D51 & 0xFFFFFFFF
        k = (k << 15 | k >> 17) & 0xFFFFFFFF
        h ^= k * 0x1B873593 & 0xFFFFFFFF
        h = (h << 13 | h >> 19) & 0xFFFFFFFF
        h = (h * 5 + 0xE6546B64) & 0xFFFFFFFF
    tail = data[len(data) // 4 * 4:]
    if tail:
        k = int.from_bytes(tail, "little") * 0xCC9E2D51 & 0xFFFFFFFF
        k = (k << 15 | k >> 17) & 0xFFFFFFFF
        h ^= k * 0x1B873593 & 0xFFFFFFFF
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return h ^ h >> 16


def circle(texts, points):
    """Sorted points; of two in one place the later server's."""
    places = {}
    for server, text in enumerate(texts):
        for point in points(text):
            places[point] = server
    return sorted(places.items())


def four_each(digest):
    return lambda text: [word for i in range(40) for word in digest(f"{text}-{i}")]


def hundred(h):
    return lambda text: [h(f"{text}-{i}") for i in range(100)]


def at_or_after(points, h):
    at = bisect.bisect_left(points, (h, -1))
    return points[at % len(points)][1]


def enyim(points, h):
    """What is below the first point is the last server's: the complement of an index of 0, less one."""
    at = bisect.bisect_left(points, (h, -1))
    if at < len(points) and points[at][0] == h:
        return points[at][1]
    if at == 0:
        return points[-1][1]
    return points[0][1] if at == len(points) else points[at][1]


def jump(h, buckets):
    b, j = -1, 0
    while j < buckets:
        b = j
        h = (h * 2862933555777941757 + 1) & 0xFFFFFFFFFFFFFFFF
        j = int((b + 1) * (float(1 << 31) / float((h >> 33) + 1)))
    return b


def python_bytes(text):
    return repr(text.encode())


evcache = circle([f"{name}/{ip}:11211" for name, ip, _ in SERVERS], four_each(md5))
proxy = circle([f"{name}/{name}:{port}" for name, _, port in SERVERS], four_each(md5))
addresses = [f"{ip}:{port}" for _, ip, port in SERVERS]
enyim_md5 = circle(addresses, four_each(md5))
enyim_fnv = circle(addresses, hundred(fnv1a_32))
spy = circle([f"/{name}:{port}" for name, _, port in SERVERS], hundred(one_at_a_time))
sha = circle([name if port == 11211 else f"{name}:{port}" for name, _, port in SERVERS], four_each(sha384))
named = [f"{name}:{port}" for name, _, port in SERVERS]

ROUTES = {
    "evcache": lambda key: at_or_after(evcache, md5(key)[0]),
    "memcached-proxy-evcache": lambda key: at_or_after(proxy, md5(key)[0]),
    "enyim": lambda key: enyim(enyim_md5, md5(key)[0]),
    "enyim-default": lambda key: enyim(enyim_fnv, fnv1a_32(key)),
    "libmemcached-spy": lambda key: at_or_after(spy, one_at_a_time(key)),
    "elasticache-ketama-libmemcached": lambda key: at_or_after(sha, sha384(key)[0]),
    "spymemcached": lambda key: java_hash(key) % N,
    "xmemcached": lambda key: java_hash(key) % N,
    "mcrouter-crc32": lambda key: (zlib.crc32(key.encode()) & 0x7FFFFFFF) % N,
    "python-memcached-1.59": lambda key: (zlib.crc32(key.encode()) >> 16 & 0x7FFF or 1) % N,
    "pymemcache-bytes": lambda key: max(
        range(N), key=lambda server: murmur3_32(f"{named[server]}-{python_bytes(key)}".encode())
    ),
    "jump": lambda key: jump(xxhash.xxh3_64_intdigest(key.encode()), N),
}

if __name__ == "__main__":
    routes = {name: [route(key) for key in KEYS] for name, route in ROUTES.items()}
    rows = ",\n".join(f"    {json.dumps(name)}: {json.dumps(route)}" for name, route in routes.items())
    print("{")
    print(f'  "servers": {json.dumps([list(server) for server in SERVERS])},')
    print(f'  "keys": {json.dumps(KEYS, ensure_ascii=False)},')
    print(f'  "routes": {{\n{rows}\n  }}\n}}')
