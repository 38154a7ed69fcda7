// Behind a reverse proxy that speaks TLS, with the configuration of the docs.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { after, before, describe, it } from "node:test";

import { KINDS, kind } from "../support/clients.mjs";
import { departure, event } from "../support/events.mjs";
import { request, socketIo } from "../support/http.mjs";
import { Inbox } from "../support/inbox.mjs";
import { startNginx } from "../support/nginx.mjs";
import { Polling, RawJsonPeer, RawPollingPeer, RawSocketPeer } from "../support/raw.mjs";
import { startServer } from "../support/server.mjs";

let server;
let nginx;
before(async () => {
  server = await startServer({ name: "axum_layer" });
  nginx = await startNginx({ signaling: server.port });
});
after(async () => {
  await nginx?.stop();
  await server.stop();
});

describe("clients behind nginx and clients before it, in one room", () => {
  const room = "both sides";
  const direct = ["socket.io-client 2.5 polling", "socket.io-client 4.8 upgrade", "plain JSON"];
  const peers = [];

  before(async () => {
    for (const { open } of KINDS) peers.push(await open(nginx.url));
    for (const name of direct) peers.push(await kind(name).open(server.url));
  });
  after(() => peers.forEach((peer) => peer.close()));

  it("meet", async () => {
    for (const peer of peers) await peer.connect(room);
    for (const [at, peer] of peers.entries()) {
      const joined = await peer.inbox.take(peers.length - 1 - at, (e) => e.type === "CONNECT");
      assert.deepEqual(joined.map((e) => e.caller.id), peers.slice(at + 1).map((later) => later.id), peer.name);
    }
  });

  it("have the transport that they asked for", () => {
    for (const peer of peers.filter((peer) => peer.transportName)) {
      assert.equal(peer.transportName, peer.name.endsWith("polling") ? "polling" : "websocket", peer.name);
    }
  });

  for (const [what, size] of [["a short signal", 10], ["300 KB", 300_000]]) {
    it(`carry ${what} from everybody to everybody`, async () => {
      const payload = "long 😀 ".repeat(size).slice(0, size);
      for (const sender of peers) {
        for (const receiver of peers.filter((peer) => peer !== sender)) {
          sender.send(event("OFFER", { to: receiver.id, room, payload }));
          const heard = await receiver.next();
          assert.deepEqual([heard.type, heard.caller.id], ["OFFER", sender.id]);
          assert.ok(heard.payload === payload, `${sender.name} to ${receiver.name}: not what was sent`);
        }
      }
    });
  }

  it("carry binary both ways", async () => {
    const binary = peers.filter((peer) => peer.ask !== undefined && peer.name !== "plain JSON");
    for (const [at, sender] of binary.entries()) {
      const receiver = binary[(at + 1) % binary.length];
      sender.send(event("OFFER", { to: receiver.id, room, payload: Buffer.from([0, 1, 255]) }));
      assert.deepEqual((await receiver.next()).payload, Buffer.from([0, 1, 255]), `${sender.name} to ${receiver.name}`);
    }
  });

  it("hear of one who leaves, on whichever side", async () => {
    for (const leaver of [peers.shift(), peers.pop()]) {
      leaver.close();
      for (const peer of peers) assert.deepEqual(await peer.next(), departure(leaver.id, room));
    }
  });
});

describe("a message of the server's maximum", () => {
  for (const revision of [3, 4]) {
    it(`is taken from a poll of revision ${revision}, one byte more is not`, async () => {
      const session = await Polling.connect(nginx, revision);
      const start = '421["message","';
      const frame = revision === 3 ? "999993:".length : 0;
      const body = session.encode(`${start}${"x".repeat(1_000_000 - frame - start.length - 2)}"]`);
      assert.equal(body.length, 1_000_000);
      assert.equal((await session.postBody(body)).body, "ok");
      assert.match((await session.get()).find((text) => text.startsWith("431")), /"malformed"/);
      assert.equal((await session.postBody(`${body}x`)).status, 413);
    });
  }
});

describe("a client that vanishes behind nginx is announced as gone", () => {
  const room = "vanishing";
  let witness;
  before(async () => {
    witness = await RawJsonPeer.open(server);
    await witness.connect(room);
  });
  after(() => witness.close());

  // The heartbeat is at its defaults, longer than a test waits: it is the connection that tells.
  const ways = {
    "polling, revision 3": () => RawPollingPeer.open(nginx, 3),
    "polling, revision 4": () => RawPollingPeer.open(nginx, 4),
    "websocket, revision 3": () => RawSocketPeer.open(nginx, 3),
    "websocket, revision 4": () => RawSocketPeer.open(nginx, 4),
    "plain JSON": () => RawJsonPeer.open(nginx),
  };
  for (const [name, open] of Object.entries(ways)) {
    it(name, async () => {
      const peer = await open();
      await peer.connect(room);
      const { caller } = await witness.next((e) => e.type === "CONNECT");
      if (peer.waiting) await peer.cut();
      else peer.socket.socket.terminate();
      const { text, ...told } = await witness.next();
      assert.deepEqual(told, departure(caller.id, room));
    });
  }
});

describe("a client's address", () => {
  // One session for each address: who is refused has been counted with somebody before.
  const handshake = (server, from, headers = {}) => request(server, socketIo({ EIO: 4, transport: "polling" }), { from, headers });

  for (const name of ["axum_layer", "hyper_bare", "actix_app", "standalone"]) {
    it(`is what nginx says of it, and nobody else, to ${name}`, async (t) => {
      const env = { PEER_DATA_TRUSTED_PROXIES: "127.0.0.1", PEER_DATA_MAX_SESSIONS_PER_ADDRESS: "1" };
      const server = await startServer({ t, name, env });
      const front = await startNginx({ t, signaling: server.port });
      const lie = { "X-Forwarded-For": "203.0.113.9" };
      for (const [where, from, headers, status] of [
        [front, "127.0.0.2", {}, 200],
        [front, "127.0.0.3", {}, 200],
        [front, "127.0.0.3", {}, 429],
        [front, "127.0.0.3", lie, 429],
        // The same two, past nginx, whom the server does not believe.
        [server, "127.0.0.2", lie, 429],
        [server, "127.0.0.4", lie, 200],
        [server, "127.0.0.4", {}, 429],
      ]) {
        assert.equal((await handshake(where, from, headers)).status, status, `${where.url} from ${from}`);
      }
    });
  }
});

describe("nginx", () => {
  it("gives everything else to the application", async (t) => {
    const application = http.createServer((incoming, answer) => answer.end(`the application's ${incoming.url}`));
    application.listen(0, "127.0.0.1");
    await once(application, "listening");
    t.after(() => application.close());
    const front = await startNginx({ t, signaling: server.port, application: application.address().port });
    for (const path of ["/", "/index.html?a=b", "/peer-data.js", "/peer-datax/", "/x/peer-data", "/socket.iox/"]) {
      assert.equal((await request(front, path)).body, `the application's ${path}`);
    }
    for (const path of ["/peer-data", "/peer-data?a=b", "/peer-data/", "/peer-data/x"]) {
      assert.equal((await request(front, path)).status, 426, path);
    }
    assert.match((await request(front, socketIo({ EIO: 4, transport: "polling" }))).body, /"sid":"/);
  });

  it("sends plain HTTP to TLS", async () => {
    const { status, headers } = await request({ url: nginx.plainUrl }, "/socket.io/?EIO=4", { headers: { Host: "example.org" } });
    assert.deepEqual([status, headers.location], [301, "https://example.org/socket.io/?EIO=4"]);
  });

  it("waits longer than a client may be silent", async () => {
    const { pingInterval, pingTimeout } = (await Polling.open(nginx, 4)).handshake;
    const patience = [...nginx.site.matchAll(/proxy_(?:read|send)_timeout (\d+)s;/g)].map(([, seconds]) => Number(seconds) * 1000);
    assert.equal(patience.length, 4);
    for (const ms of patience) assert.ok(ms > pingInterval + pingTimeout);
  });

  it("overwrites what a client says of itself", async (t) => {
    const heard = new Inbox("the server behind");
    const behind = http.createServer((incoming, answer) => {
      heard.push(incoming.headers);
      answer.end("ok");
    });
    behind.on("upgrade", (incoming, socket) => {
      heard.push(incoming.headers);
      socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    });
    behind.listen(0, "127.0.0.1");
    await once(behind, "listening");
    t.after(() => behind.close());
    const front = await startNginx({ t, signaling: behind.address().port });

    const lies = {
      Host: "example.org",
      "X-Forwarded-For": "203.0.113.9",
      "X-Forwarded-Host": "evil.test",
      "X-Forwarded-Proto": "gopher",
    };
    const truth = { host: "example.org", "x-forwarded-for": "127.0.0.1", "x-forwarded-host": "example.org", "x-forwarded-proto": "https" };
    const upgrade = {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    };
    for (const path of [socketIo({ EIO: 4, transport: "polling" }), "/peer-data", "/"]) {
      await request(front, path, { headers: lies });
      const headers = await heard.next();
      for (const [name, value] of Object.entries(truth)) assert.equal(headers[name], value, `${path}: ${name}`);
      assert.equal(headers.connection, undefined, "connections to the server should be kept");

      await request(front, path, { headers: { ...lies, ...upgrade } });
      const asked = await heard.next();
      assert.deepEqual([asked.connection, asked.upgrade], ["upgrade", "websocket"], path);
      for (const [name, value] of Object.entries(truth)) assert.equal(asked[name], value, `${path}: ${name}`);
    }
  });
});
