// A cable between a client and the server that a test can pull out.

import { once } from "node:events";
import net from "node:net";

import { settled } from "./http.mjs";

/** Forwards connections to `server`, or anything else that has a port: `{url, cut(), part(), mend()}`. */
export async function cable(server) {
  const lines = new Set();
  const hub = net.createServer((near) => {
    const far = net.connect(server.port, "127.0.0.1");
    const line = { near, far, said: "", heard: "" };
    lines.add(line);
    near.on("data", (chunk) => (line.said ||= chunk.toString("latin1")));
    far.on("data", (chunk) => (line.heard ||= chunk.toString("latin1")));
    near.pipe(far).pipe(near);
    for (const end of [near, far]) {
      end.on("error", () => {});
      end.on("close", () => {
        lines.delete(line);
        near.destroy();
        far.destroy();
      });
    }
  });
  hub.listen(0, "127.0.0.1");
  await once(hub, "listening");

  // A websocket, or a poll that waits: without one the server has nothing to notice.
  const carries = ({ said, heard }) => said.startsWith("GET") && (heard === "" || heard.startsWith("HTTP/1.1 101"));

  const { port } = hub.address();

  return {
    url: `http://127.0.0.1:${port}`,
    close: () => hub.close(),
    /** Takes connections again, at the same address. */
    async mend() {
      hub.listen(port, "127.0.0.1");
      await once(hub, "listening");
    },
    /** Breaks every connection without a word, as soon as one is up that carries the session. */
    async cut() {
      while (![...lines].some(carries)) await new Promise((resolve) => setTimeout(resolve, 5));
      await settled(server);
      this.part();
    },
    /** Breaks every connection, whatever it carries, and takes no more. */
    part() {
      hub.close();
      for (const { near, far } of lines) {
        far.resetAndDestroy();
        near.resetAndDestroy();
      }
    },
  };
}
