// memjs with the line protocol; the first argument is the directory of its package.
"use strict";

const path = require("path");
const { serve } = require("../node/lines.js");

const memjs = require(process.argv[2]);
const { version } = require(path.join(process.argv[2], "package.json"));

serve(({ servers }) => {
  const addresses = servers.map((server) => server.address);
  // Long timeouts: a slow machine must not mark a server as down.
  const client = memjs.Client.create(addresses.join(","), { timeout: 60, conntimeout: 60, retries: 1 });
  return {
    version,
    async set(key, value) {
      if (!(await client.set(key, value, {}))) throw new Error("not stored");
    },
    async get(key) {
      return (await client.get(key)).value;
    },
    // With one server the client has no routing function.
    route: (key) => addresses[addresses.length > 1 ? client.getServer(key) : 0],
    close: () => client.close(),
  };
});
