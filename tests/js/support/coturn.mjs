// Debian's coturn, as a process of its own on a free port.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { canConnect, freePort } from "./server.mjs";

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** A TURN server that takes credentials signed with any of the `secrets`, and ends with the test `t`. */
export async function startCoturn(t, secrets) {
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const folder = mkdtempSync(join(tmpdir(), "coturn-"));
    const child = spawn(
      process.env.TURNSERVER ?? "turnserver",
      [
        "-n", "--use-auth-secret", ...secrets.map((secret) => `--static-auth-secret=${secret}`),
        "--realm=example.org", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", `--listening-port=${port}`,
        // Browsers of this test are on this machine.
        "--allow-loopback-peers", "--cli-password=unused", "--no-cli", "--no-tls", "--no-dtls",
        "--log-file=stdout", "--verbose", `--pidfile=${folder}/pid`, `--userdb=${folder}/db`,
      ],
      { cwd: folder, stdio: ["ignore", "pipe", "pipe"] },
    );
    running.add(child);
    const coturn = { port, url: `turn:127.0.0.1:${port}`, output: "" };
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (coturn.output += chunk));
    child.once("error", (error) => (coturn.output += `${error}: apt-get install coturn`));
    const exited = new Promise((resolve) => child.once("exit", resolve).once("error", resolve));
    coturn.stop = async () => {
      child.kill("SIGKILL");
      await exited;
      running.delete(child);
      rmSync(folder, { recursive: true, force: true });
    };
    const deadline = Date.now() + 20_000;
    while (Date.now() < deadline && child.exitCode === null && child.pid) {
      if (await canConnect(port)) {
        t.after(coturn.stop);
        return coturn;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await coturn.stop();
    // Another process may have taken the port between the choice and the bind.
    if (attempt === 3) throw new Error(`coturn does not start:\n${coturn.output}`);
  }
}
