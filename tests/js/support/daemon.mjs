// A server of a Debian package, as a process of its own on a free port, with a folder of its own.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { canConnect, freePort } from "./server.mjs";

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/**
 * Starts the program of a package: `{port, output, kill(), restart()}`.
 *
 * `args` makes its arguments of a port and a folder.
 */
export async function startDaemon({ pack, file, args }) {
  for (let attempt = 1; ; attempt += 1) {
    const daemon = new Daemon({ pack, file, args }, await freePort());
    if (await daemon.start()) return daemon;
    await daemon.kill();
    // Another process may have taken the port between the choice and the bind.
    if (attempt === 3) throw new Error(`${file} does not start:\n${daemon.output}`);
  }
}

class Daemon {
  constructor(program, port) {
    this.program = program;
    this.port = port;
    this.output = "";
  }

  async start() {
    const { pack, file, args } = this.program;
    this.folder = mkdtempSync(join(tmpdir(), `${pack}-`));
    this.child = spawn(file, args(String(this.port), this.folder), { cwd: this.folder, stdio: ["ignore", "pipe", "pipe"] });
    const { child } = this;
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (this.output += chunk));
    this.exited = new Promise((resolve) => child.once("exit", resolve).once("error", resolve));
    child.once("error", (error) => (this.output += `${error}: apt-get install ${pack}`));
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
    if (!(await this.start())) throw new Error(`${this.program.file} does not come back:\n${this.output}`);
  }
}
