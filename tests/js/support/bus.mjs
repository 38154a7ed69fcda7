// Debian's NATS and Redis.

import { startDaemon } from "./daemon.mjs";

const PROGRAMS = {
  nats: {
    pack: "nats-server",
    file: process.env.NATS_SERVER ?? "nats-server",
    args: (port) => ["-a", "127.0.0.1", "-p", port],
  },
  redis: {
    pack: "redis-server",
    file: process.env.REDIS_SERVER ?? "redis-server",
    args: (port) => ["--bind", "127.0.0.1", "--port", port, "--save", ""],
  },
};

/** Starts `nats` or `redis`: `{name, url, port, kill(), restart()}`. */
export async function startBus(name) {
  const bus = await startDaemon(PROGRAMS[name]);
  return Object.assign(bus, { name, url: `${name}://127.0.0.1:${bus.port}` });
}
