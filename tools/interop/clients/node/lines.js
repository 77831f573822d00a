// The line protocol of the interoperability programs (tools/interop/clients/README.md), for those in JavaScript.
"use strict";

const readline = require("readline");

/** Thrown for a value or a request that this client does not support, with the reason. */
class Skip extends Error {}

/** Parses a profile, options by name, and servers with host, port and weight. */
function parseConfig(text) {
  const [profile, options, ...servers] = text.split(" ");
  const parse = (server) => {
    const [, host, port, weight] = /^(.*):(\d+):(\d+)$/.exec(server);
    return { host, port: Number(port), weight: Number(weight), address: `${host}:${port}` };
  };
  return { profile, options: options.split(","), servers: servers.map(parse) };
}

const bytes = (hexadecimal) => Buffer.from(hexadecimal === "-" ? "" : hexadecimal, "hex");
const hexadecimal = (value) => Buffer.from(value).toString("hex") || "-";

/** Replies to each line with one line until the end of the input. Keys are text, values are bytes. */
async function serve(open) {
  let client = null;
  const commands = {
    async config(rest) {
      if (client) client.close();
      client = open(parseConfig(rest));
      return "ready " + client.version;
    },
    async set(rest) {
      const [key, value] = rest.split(" ");
      await client.set(bytes(key).toString(), bytes(value));
      return "stored";
    },
    async get(rest) {
      const value = await client.get(bytes(rest).toString());
      return value === null ? "miss" : "hit " + hexadecimal(value);
    },
    async route(rest) {
      return "server " + client.route(bytes(rest).toString());
    },
  };
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const end = line.indexOf(" ");
    const command = commands[line.slice(0, end)];
    let answer;
    try {
      if (!command) throw new Skip("no such question");
      answer = await command(line.slice(end + 1));
    } catch (error) {
      const text = String(error.message || error).split(/\s+/).join(" ");
      answer = error instanceof Skip ? "skip " + text : "error " + text;
    }
    process.stdout.write(answer + "\n");
  }
  if (client) client.close();
}

module.exports = { serve, Skip };
