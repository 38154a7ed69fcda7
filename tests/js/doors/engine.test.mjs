// Engine.IO clients, which know nothing of Socket.IO: opening, raw messages, heartbeat.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, before, describe, it } from "node:test";
import { Socket as EngineSocket6 } from "engine.io-client-6";
import WebSocket from "ws";

import { departure, event } from "../support/events.mjs";
import { Inbox, within } from "../support/inbox.mjs";
import { Polling, RawJsonPeer, RawSocketPeer, Socket } from "../support/raw.mjs";
import { socketIo } from "../support/http.mjs";
import { startServer } from "../support/server.mjs";

const EngineSocket3 = createRequire(import.meta.url)("engine.io-client-3").Socket;

const REVISIONS = [
  { client: "engine.io-client 3", revision: 3, heartbeat: "pong", open: (url, options) => new EngineSocket3(url, options) },
  { client: "engine.io-client 6", revision: 4, heartbeat: "ping", open: (url, options) => new EngineSocket6(url, options) },
];

const TRANSPORTS = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };

/** Opens a client, enters the default namespace, and returns it with what it hears. */
async function connect(server, { client, revision, open }, transports) {
  const socket = open(server.url, { path: "/socket.io/", transports });
  const messages = new Inbox(client);
  socket.on("message", (data) => messages.push(typeof data === "string" ? data : Buffer.from(data)));
  const upgraded = transports.length === 1 || new Promise((resolve) => socket.on("upgrade", resolve));
  const closed = new Promise((resolve) => socket.on("close", resolve));
  await within(new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject)), `${client}: open`);
  if (revision === 4) socket.send("0");
  const connected = await messages.next();
  if (revision === 3) assert.equal(connected, "0");
  else assert.match(connected, /^0\{"sid":"[^"]+"\}$/);
  await within(upgraded, `${client}: upgrade`);
  return { socket, messages, closed };
}

describe("engine.io clients", () => {
  let server;
  before(async () => (server = await startServer()));
  after(() => server.stop());

  for (const kind of REVISIONS) {
    for (const [transport, transports] of Object.entries(TRANSPORTS)) {
      it(`${kind.client} by ${transport}: messages, binary and close`, async () => {
        const room = `${kind.client} ${transport}`;
        const [one, two] = [await connect(server, kind, transports), await connect(server, kind, transports)];
        const ids = [];
        for (const { socket, messages } of [one, two]) {
          socket.send(`21["message",${JSON.stringify(event("CONNECT", { room }))}]`);
          const ack = await messages.next((text) => text.startsWith("31"));
          ids.push(JSON.parse(ack.slice(2))[0].id);
        }
        assert.deepEqual(JSON.parse((await one.messages.next()).slice(1))[1].caller, { id: ids[1] });

        one.socket.send(`2["message",${JSON.stringify(event("OFFER", { to: ids[1], room, payload: "é😀" }))}]`);
        const offer = { ...event("OFFER", { to: ids[1], room, payload: "é😀" }), caller: { id: ids[0] } };
        assert.equal(await two.messages.next(), `2["message",${JSON.stringify(offer)}]`);

        const payload = { _placeholder: true, num: 0 };
        two.socket.send(`51-["message",${JSON.stringify(event("ANSWER", { to: ids[0], room, payload }))}]`);
        two.socket.send(Buffer.from([4, 3, 0, 255]));
        const answer = { ...event("ANSWER", { to: ids[0], room, payload }), caller: { id: ids[1] } };
        assert.equal(await one.messages.next(), `51-["message",${JSON.stringify(answer)}]`);
        assert.deepEqual(await one.messages.next(), Buffer.from([4, 3, 0, 255]));

        one.socket.close();
        await within(one.closed, "the close");
        assert.deepEqual(JSON.parse((await two.messages.next()).slice(1))[1], departure(ids[0], room));
        two.socket.close();
      });
    }
  }
});

describe("heartbeat", () => {
  let server;
  before(async () => {
    server = await startServer({ env: { PEER_DATA_PING_INTERVAL_MS: "150", PEER_DATA_PING_TIMEOUT_MS: "5000" } });
  });
  after(() => server.stop());

  for (const kind of REVISIONS) {
    for (const [transport, transports] of Object.entries(TRANSPORTS)) {
      it(`${kind.client} by ${transport} lives through many beats`, async () => {
        const { socket, messages } = await connect(server, kind, transports);
        let beats = 0;
        const enough = new Promise((resolve) => socket.on(kind.heartbeat, () => (beats += 1) === 6 && resolve()));
        await within(enough, "six heartbeats");
        socket.send('21["message",{}]');
        assert.match(await messages.next((text) => text.startsWith("31")), /"malformed"/);
        socket.close();
      });
    }
  }

  it("plain JSON is kept alive by websocket pings", async () => {
    const peer = await RawJsonPeer.open(server);
    let beats = 0;
    await within(new Promise((resolve) => peer.socket.socket.on("ping", () => (beats += 1) === 4 && resolve())), "four pings");
    assert.equal(peer.socket.socket.readyState, WebSocket.OPEN);
    peer.close();
  });

  it("revision 3 answers every ping with a bare pong", async () => {
    const peer = await RawSocketPeer.open(server, 3);
    for (const ping of ["2", "2abc"]) {
      peer.sendPacket(ping);
      assert.equal(await peer.nextPacket(), "3");
    }
    peer.close();
  });

  it("revision 3 answers a ping sent by polling", async () => {
    const session = await Polling.connect(server, 3);
    await session.post("2");
    assert.deepEqual(await session.get(), ["3"]);
  });

  it("revision 4 pings by polling", async () => {
    // Not connected, whose answer a ping could come with.
    const session = await Polling.open(server, 4);
    assert.deepEqual(await session.get(), ["2"]);
    await session.post("3");
    assert.deepEqual(await session.get(), ["2"]);
  });
});

// At once, since each takes as long as whoever listens may need for its pongs on a busy machine.
describe("silence", { concurrency: true }, () => {
  let server;
  before(async () => {
    server = await startServer({ env: { PEER_DATA_PING_INTERVAL_MS: "500", PEER_DATA_PING_TIMEOUT_MS: "5000" } });
  });
  after(() => server.stop());

  const connectText = (room) => `421["message",${JSON.stringify(event("CONNECT", { room }))}]`;

  for (const revision of [3, 4]) {
    it(`closes a silent websocket of revision ${revision} and tells its rooms`, async () => {
      const room = `silent websocket ${revision}`;
      const witness = await RawJsonPeer.open(server);
      await witness.connect(room);
      const socket = await Socket.open(server, socketIo({ EIO: revision, transport: "websocket" }));
      if (revision === 4) {
        socket.send("40");
        await socket.next((frame) => frame.startsWith("40"));
      }
      socket.send(connectText(room));
      const { id } = JSON.parse((await socket.next((frame) => frame.startsWith("431"))).slice(3))[0];
      await socket.closed;
      assert.equal((await witness.next()).type, "CONNECT");
      const { text, ...told } = await witness.next();
      assert.deepEqual(told, departure(id, room));
      witness.close();
    });

    it(`closes a silent polling session of revision ${revision} and tells its rooms`, async () => {
      const room = `silent polling ${revision}`;
      const witness = await RawJsonPeer.open(server);
      await witness.connect(room);
      const session = await Polling.connect(server, revision);
      assert.equal((await session.post(connectText(room))).body, "ok");
      assert.equal((await witness.next()).type, "CONNECT");
      assert.equal((await witness.next()).type, "DISCONNECT");
      const { status, body } = await session.poll();
      assert.deepEqual([status, JSON.parse(body).code], [400, 1]);
      witness.close();
    });
  }

  it("closes a plain JSON websocket that answers no ping", async () => {
    const silent = await Socket.open(server, "/peer-data", { autoPong: false });
    await silent.next((frame) => frame.includes("READY"));
    await silent.closed;
  });
});
