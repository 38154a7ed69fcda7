// Starts an example of the crate as a process of its own on a free port, and ends it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import net from "node:net";
import { fileURLToPath } from "node:url";
import { join } from "node:path";

// A test run that ends early takes its servers with it.
const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** The example that the scenarios run against: the way in which the crate is mounted. */
export const DOOR = process.env.DOOR ?? "axum_layer";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

/** The path of an example's binary; `EXAMPLES_DIR` names another folder than cargo's own. */
export function example(name) {
  const target = process.env.CARGO_TARGET_DIR ?? join(ROOT, "target");
  const folder = process.env.EXAMPLES_DIR ?? join(target, "debug", "examples");
  const binary = join(folder, name);
  if (!existsSync(binary)) {
    throw new Error(`${binary} is not there: run "cargo build --examples --all-features" first`);
  }
  return binary;
}

/** Runs an example to its end: `{code, stdout, stderr}`. */
export async function run(name, { args = [], env = {} } = {}) {
  const child = spawn(example(name), args, { env: { ...process.env, ...env }, timeout: 30_000 });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk) => (stdout += chunk));
  child.stderr.on("data", (chunk) => (stderr += chunk));
  const [code] = await once(child, "close");
  return { code, stdout, stderr };
}

/**
 * Starts an example and waits until it accepts connections.
 *
 * `env` adds variables; `port` takes a certain one. The server ends with the test `t` that started it, if one is given.
 */
export async function startServer({ t, env = {}, name = DOOR, port } = {}) {
  for (let attempt = 1; ; attempt += 1) {
    const server = new Server(name, port ?? (await freePort()), env);
    if (await server.accepts()) {
      t?.after(() => server.stop());
      return server;
    }
    // Another process may have taken the port between the choice and the bind.
    if (attempt === 3) throw new Error(`${name} does not start:\n${server.output}`);
  }
}

class Server {
  constructor(name, port, env) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.output = "";
    this.child = spawn(example(name), {
      cwd: ROOT,
      env: { ...process.env, HOST: "127.0.0.1", PORT: String(port), ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.exited = once(this.child, "exit").then(([code, signal]) => code ?? signal);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.on("data", (chunk) => (this.output += chunk));
    }
    running.add(this.child);
    this.exited.then(() => running.delete(this.child));
  }

  async accepts() {
    const deadline = Date.now() + 20_000;
    while (Date.now() < deadline && this.child.exitCode === null) {
      if (await canConnect(this.port)) return this.child.exitCode === null;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    this.child.kill("SIGKILL");
    return false;
  }

  /** Ends the server, and resolves with its exit status or the name of a signal. It must have been well until now. */
  async stop(signal = "SIGKILL") {
    if (this.child.exitCode !== null || this.child.signalCode !== null || /panicked/.test(this.output)) {
      throw new Error(`the server was not well:\n${this.output}`);
    }
    this.child.kill(signal);
    const hard = setTimeout(() => this.child.kill("SIGKILL"), 10_000);
    const status = await this.exited;
    clearTimeout(hard);
    return status;
  }
}

export async function freePort() {
  const probe = net.createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}

export function canConnect(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}
