// The application around the door: its routes are its own, and settings reach the server.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import WebSocket from "ws";

import { kind } from "../support/clients.mjs";
import { event } from "../support/events.mjs";
import { request, socketIo } from "../support/http.mjs";
import { Socket } from "../support/raw.mjs";
import { DOOR, run, startServer } from "../support/server.mjs";

const HANDSHAKE = "?EIO=4&transport=polling";
const OTHERS = ["/nothing-here", "/socket.iox/", "/socket.io.js", "/x/socket.io/", "/SOCKET.IO/", "/peer-datax", "/peer-data.js", "/x/peer-data"];

describe("the application's own", () => {
  let server;
  before(async () => (server = await startServer()));
  after(() => server.stop());

  async function greets() {
    const { status, headers, body } = await request(server, "/", { headers: { Origin: "http://o.test" } });
    assert.equal(status, 200);
    assert.match(body, /^hello\b/i);
    assert.equal(headers["access-control-allow-origin"], undefined);
  }

  it("route answers, with a query too", async () => {
    await greets();
    assert.match((await request(server, `/${HANDSHAKE}`)).body, /^hello\b/i);
  });

  it("route answers beside signaling of every kind", async () => {
    const peers = [];
    for (const name of ["socket.io-client 2.5 polling", "socket.io-client 4.8 upgrade", "plain JSON"]) {
      const peer = await kind(name).open(server.url);
      await peer.connect("room");
      peers.push(peer);
      await greets();
    }
    const [first, , last] = peers;
    first.send(event("OFFER", { to: last.id, room: "room" }));
    assert.equal((await last.next((e) => e.type === "OFFER")).caller.id, first.id);
    for (const peer of peers) peer.close();
  });

  it("404 answers every other path", async () => {
    for (const path of OTHERS) {
      for (const method of ["GET", "POST", "DELETE"]) {
        const { status, headers } = await request(server, path + HANDSHAKE, { method, headers: { Origin: "http://o.test" } });
        assert.equal(status, 404, `${method} ${path}`);
        assert.equal(headers["access-control-allow-origin"], undefined, path);
      }
    }
  });

  it("404 answers a websocket at every other path", async () => {
    for (const path of OTHERS) {
      const socket = new WebSocket(server.url.replace("http", "ws") + path);
      socket.on("error", () => {});
      const status = await new Promise((resolve) => {
        socket.on("unexpected-response", (_, response) => resolve(response.statusCode));
        socket.on("open", () => resolve("open"));
      });
      socket.terminate();
      assert.equal(status, 404, path);
    }
  });

  it("paths begin where signaling's end: at the path, and at a slash after it", async () => {
    for (const path of ["/socket.io", "/socket.io/", "/socket.io/more"]) {
      const { status, body } = await request(server, path + HANDSHAKE);
      assert.ok(status === 200 && /"sid":"/.test(body), `${path}: ${status} ${body}`);
    }
    for (const path of ["/peer-data", "/peer-data/"]) assert.equal((await request(server, path)).status, 426, path);
  });
});

describe("settings", () => {
  it("reach the handshake", async (t) => {
    const env = { PEER_DATA_PING_INTERVAL_MS: "12345", PEER_DATA_PING_TIMEOUT_MS: "6789", PEER_DATA_MAX_MESSAGE_BYTES: "54321" };
    const server = await startServer({ t, env });
    const { body } = await request(server, socketIo({ EIO: 4, transport: "polling" }));
    const { pingInterval, pingTimeout, maxPayload } = JSON.parse(body.slice(1));
    assert.deepEqual([pingInterval, pingTimeout, maxPayload], [12_345, 6_789, 54_321]);
  });

  it("bound a message", async (t) => {
    const server = await startServer({ t, env: { PEER_DATA_MAX_MESSAGE_BYTES: "1000" } });
    const socket = await Socket.open(server, "/peer-data");
    socket.send(`"${"x".repeat(998)}"`);
    assert.match(await socket.next((frame) => frame.includes("ERROR")), /"malformed"/);
    socket.send(`"${"x".repeat(999)}"`);
    assert.equal((await socket.closed).code, 1009);
  });

  it("that make no sense end the program with a sentence", async () => {
    const { code, stderr } = await run(DOOR, { env: { PORT: "0", PEER_DATA_PING_INTERVAL_MS: "soon" } });
    assert.ok(code > 0, `exit status ${code}`);
    assert.match(stderr, /PEER_DATA_PING_INTERVAL_MS/);
    assert.doesNotMatch(stderr, /panicked/);
  });
});
