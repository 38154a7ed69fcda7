// Requests as bytes on a socket of their own, for what no client library would send.

import http from "node:http";
import https from "node:https";
import net from "node:net";
import { once } from "node:events";

import { within } from "./inbox.mjs";

/** One request on a connection of its own: `{status, headers, body, bytes}`. */
export function request(server, path, options = {}) {
  return within(open(server, path, options).answer, `${options.method ?? "GET"} ${path}`);
}

/**
 * Resolves when requests sent before now have reached their handlers.
 *
 * A web server drops a request unseen if its connection ends in the instant in which it arrives;
 * answers to a few later ones show that this instant is over.
 */
export async function settled(server) {
  for (let trip = 0; trip < 10; trip += 1) await request(server, "/nothing-here");
}

/** Starts a request, over TLS with any certificate and from the address `from`; `left` resolves when it is on its way, `cut()` then breaks its connection. */
export function open(server, path, { method = "GET", headers = {}, body, from } = {}) {
  const { request } = server.url.startsWith("https") ? https : http;
  // Node itself says no length with a DELETE: its body would be the beginning of another request.
  const length = body !== undefined && { "content-length": Buffer.byteLength(body) };
  const outgoing = request(server.url + path, {
    method,
    headers: { ...length, ...headers },
    localAddress: from,
    agent: false,
    rejectUnauthorized: false,
  });
  const answer = new Promise((resolve, reject) => {
    outgoing.on("error", reject);
    outgoing.on("response", (incoming) => {
      const chunks = [];
      incoming.on("error", reject);
      incoming.on("data", (chunk) => chunks.push(chunk));
      incoming.on("end", () => {
        const bytes = Buffer.concat(chunks);
        resolve({ status: incoming.statusCode, headers: incoming.headers, body: bytes.toString(), bytes });
      });
    });
  });
  answer.catch(() => {}); // A request that is cut off has no answer to look at.
  const left = new Promise((resolve) => outgoing.once("finish", resolve));
  outgoing.end(body);
  return { answer, left, cut: () => left.then(() => outgoing.destroy()) };
}

/** Writes `text` to a fresh connection: `{answer(marker), socket}`; the connection stays open. */
export function speak(server, text) {
  const socket = net.connect(server.port, "127.0.0.1");
  let heard = "";
  const closed = once(socket, "close");
  socket.on("error", () => {});
  socket.on("data", (chunk) => (heard += chunk));
  socket.write(text);
  return {
    socket,
    closed,
    /** Resolves with what was heard once it contains `marker`. */
    hears: (marker) =>
      within(
        (async () => {
          while (!heard.includes(marker)) {
            const data = once(socket, "data");
            await Promise.race([data, closed]);
            if (socket.closed && !heard.includes(marker)) throw new Error(`closed after ${JSON.stringify(heard)}`);
          }
          return heard;
        })(),
        `${marker} in ${JSON.stringify(text.slice(0, 80))}`,
      ),
  };
}

/** The path of a Socket.IO request, from its query. */
export function socketIo(query) {
  return `/socket.io/?${new URLSearchParams(query)}`;
}
