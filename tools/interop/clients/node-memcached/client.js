// The package memcached of npm (3rd-Eden/memcached) with the line protocol; the first argument is its directory.
"use strict";

const path = require("path");
const { serve } = require("../node/lines.js");

const Memcached = require(process.argv[2]);
const { version } = require(path.join(process.argv[2], "package.json"));

/** Returns the value of a call whose last argument is a callback. */
function answer(call) {
  return new Promise((resolve, reject) => call((error, value) => (error ? reject(error) : resolve(value))));
}

serve(({ servers }) => {
  const weights = Object.fromEntries(servers.map((server) => [server.address, server.weight]));
  // Long timeouts: a slow machine must not mark a server as down.
  const client = new Memcached(weights, { timeout: 60000, retries: 0, poolSize: 1 });
  return {
    version,
    async set(key, value) {
      if (!(await answer((done) => client.set(key, value.toString(), 0, done)))) throw new Error("not stored");
    },
    async get(key) {
      const value = await answer((done) => client.get(key, done));
      return value === undefined || value === false ? null : value;
    },
    route: (key) => client.HashRing.get(key),
    close: () => client.end(),
  };
});
