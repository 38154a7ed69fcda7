// Debian's NATS and Redis, as processes of their own on free ports.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { canConnect, freePort } from "./server.mjs";

const PROGRAMS = {
  nats: { file: process.env.NATS_SERVER ?? "nats-server", arguments: (port) => ["-a", "127.0.0.1", "-p", port] },
  redis: {
    file: process.env.REDIS_SERVER ?? "redis-server",
    arguments: (port) => ["--bind", "127.0.0.1", "--port", port, "--save", ""],
  },
};

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** Starts `nats` or `redis`: `{url, kill(), restart()}`. */
export async function startBus(name) {
  for (let attempt = 1; ; attempt += 1) {
    const bus = new Bus(name, await freePort());
    if (await bus.start()) return bus;
    await bus.kill();
    // Another process may have taken the port between the choice and the bind.
    if (attempt === 3) throw new Error(`${PROGRAMS[name].file} does not start:\n${bus.output}`);
  }
}

class Bus {
  constructor(name, port) {
    this.name = name;
    this.port = port;
    this.url = `${name}://127.0.0.1:${port}`;
    this.output = "";
  }

  async start() {
    const { file, arguments: arguments_ } = PROGRAMS[this.name];
    this.folder = mkdtempSync(join(tmpdir(), `${this.name}-`));
    this.child = spawn(file, arguments_(String(this.port)), { cwd: this.folder, stdio: ["ignore", "pipe", "pipe"] });
    const { child } = this;
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (this.output += chunk));
    this.exited = new Promise((resolve) => child.once("exit", resolve).once("error", resolve));
    child.once("error", (error) => (this.output += `${error}: apt-get install ${this.name}-server`));
    running.add(child);
    this.exited.then(() => running.delete(child));
    const deadline = Date.now() + 20_000;
    while (Date.now() < deadline && child.exitCode === null && child.pid) {
      if (await canConnect(this.port)) return child.exitCode === null;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return false;
  }

  /** Without a word to anybody. */
  async kill() {
    this.child.kill("SIGKILL");
    await this.exited;
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** On the same port. */
  async restart() {
    if (!(await this.start())) throw new Error(`${this.name} does not come back:\n${this.output}`);
  }
}
