// Debian's coturn.

import { startDaemon } from "./daemon.mjs";

/** A TURN server, `{url, output}`, that takes credentials signed with any of the `secrets` and ends with the test `t`. */
export async function startCoturn(t, secrets) {
  const coturn = await startDaemon({
    pack: "coturn",
    file: process.env.TURNSERVER ?? "turnserver",
    args: (port, folder) => [
      "-n", "--use-auth-secret", ...secrets.map((secret) => `--static-auth-secret=${secret}`),
      "--realm=example.org", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", `--listening-port=${port}`,
      // Browsers of this test are on this machine.
      "--allow-loopback-peers", "--cli-password=unused", "--no-cli", "--no-tls", "--no-dtls",
      "--log-file=stdout", "--verbose", `--pidfile=${folder}/pid`, `--userdb=${folder}/db`,
    ],
  });
  t.after(() => coturn.kill());
  return Object.assign(coturn, { url: `turn:127.0.0.1:${coturn.port}` });
}
