// Debian's nginx with the configuration of the docs, `examples/nginx.conf`, as an unprivileged process of its own.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { canConnect, freePort } from "./server.mjs";

const EXECUTABLE = process.env.NGINX ?? "/usr/sbin/nginx";
const CONFIGURATION = fileURLToPath(new URL("../../../examples/nginx.conf", import.meta.url));

const running = new Set();
// The master takes its workers along, but only if it is asked.
process.on("exit", () => running.forEach((child) => child.kill("SIGTERM")));

/**
 * Starts nginx in front of servers, each a port: `{url, plainUrl, port, site, stop()}`.
 *
 * `signaling` may be several servers; each is asked in turn. It speaks TLS with a certificate that nobody trusts. It ends with the test `t`, if one is given.
 */
export async function startNginx({ t, signaling, application = signaling }) {
  if (!existsSync(EXECUTABLE)) throw new Error(`${EXECUTABLE} is not there: apt-get install nginx`);
  for (let attempt = 1; ; attempt += 1) {
    const nginx = new Nginx(await freePort(), await freePort(), { signaling, application });
    if (await nginx.accepts()) {
      t?.after(() => nginx.stop());
      return nginx;
    }
    await nginx.stop();
    // Another process may have taken a port between the choice and the bind.
    if (attempt === 3) throw new Error(`nginx does not start:\n${nginx.output}`);
  }
}

class Nginx {
  constructor(port, plainPort, upstreams) {
    this.port = port;
    this.url = `https://127.0.0.1:${port}`;
    this.plainUrl = `http://127.0.0.1:${plainPort}`;
    this.output = "";
    this.folder = mkdtempSync(join(tmpdir(), "nginx-"));
    const file = (name) => join(this.folder, name);
    const [certificate, key] = [file("cert.pem"), file("key.pem")];
    execFileSync("openssl", [
      ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost".split(" "),
      ...["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate],
    ], { stdio: "pipe" });
    const { signaling, application } = upstreams;
    this.site = substituted(readFileSync(CONFIGURATION, "utf8"), [
      ["upstream signaling {\n    server 127.0.0.1:3000;", `upstream signaling {\n${servers(signaling)}`],
      ["upstream application {\n    server 127.0.0.1:3000;", `upstream application {\n${servers(application)}`],
      ["listen 80;", `listen 127.0.0.1:${plainPort};`],
      ["listen 443 ssl", `listen 127.0.0.1:${port} ssl`],
      ["/etc/ssl/example.org/fullchain.pem", certificate],
      ["/etc/ssl/example.org/privkey.pem", key],
    ]);
    writeFileSync(file("site.conf"), this.site);
    writeFileSync(file("nginx.conf"), mainConfiguration(this.folder));
    this.child = spawn(EXECUTABLE, ["-p", this.folder, "-c", file("nginx.conf"), "-e", "stderr"], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.child.stderr.on("data", (chunk) => (this.output += chunk));
    this.exited = once(this.child, "exit");
    running.add(this.child);
    this.exited.then(() => running.delete(this.child));
  }

  async accepts() {
    const deadline = Date.now() + 20_000;
    while (Date.now() < deadline && this.child.exitCode === null) {
      if (await canConnect(this.port)) return this.child.exitCode === null;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return false;
  }

  async stop() {
    this.child.kill("SIGTERM");
    await this.exited;
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** What Debian's own nginx.conf says around the site's, but in a folder of its own. */
function mainConfiguration(folder) {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((what) => `  ${what}_temp_path ${folder}/${what};`);
  return [
    // Started by root, its workers would be nobody's and could not enter the folder.
    ...(process.getuid() === 0 ? ["user root;"] : []),
    `pid ${folder}/pid;`,
    "daemon off;",
    "worker_processes 2;",
    "events { worker_connections 1024; }",
    "http {",
    "  access_log off;",
    ...temporary,
    `  include ${folder}/site.conf;`,
    "}",
  ].join("\n");
}

const servers = (ports) => [ports].flat().map((port) => `    server 127.0.0.1:${port};`).join("\n");

function substituted(text, pairs) {
  return pairs.reduce((done, [from, to]) => {
    if (done.split(from).length !== 2) throw new Error(`examples/nginx.conf should say ${JSON.stringify(from)} once`);
    return done.replace(from, to);
  }, text);
}
