// The standalone example as a program: its variables, its errors, its end.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { KINDS, kind } from "../support/clients.mjs";
import { request } from "../support/http.mjs";
import { within } from "../support/inbox.mjs";
import { RawJsonPeer } from "../support/raw.mjs";
import { run, startServer } from "../support/server.mjs";

const start = (options) => startServer({ name: "standalone", ...options });

const MILLISECONDS = ["PING_INTERVAL", "PING_TIMEOUT", "UPGRADE_TIMEOUT", "CONNECT_TIMEOUT"].map((name) => `PEER_DATA_${name}_MS`);
const BYTES = ["PEER_DATA_MAX_MESSAGE_BYTES", "PEER_DATA_OUTBOX_BYTES"];
const PATHS = ["PEER_DATA_PATH", "PEER_DATA_JSON_PATH"];
const SWITCHES = ["PEER_DATA_EXPOSE_SESSION_IDS", "PEER_DATA_REFERENCE_COMPAT"];

describe("the program", () => {
  it("lists every variable with --help", async () => {
    const { code, stdout } = await run("standalone", { args: ["--help"] });
    assert.equal(code, 0);
    for (const name of ["HOST", "PORT", "GRACE_MS", ...MILLISECONDS, ...BYTES, ...PATHS, ...SWITCHES]) {
      assert.match(stdout, new RegExp(`\\b${name}\\b`));
    }
  });

  const wrong = [
    ...["x", "-1", "1.5"].map((value) => ["GRACE_MS", value]),
    ...["PORT"].flatMap((name) => ["x", "-1", "65536", "80.5"].map((value) => [name, value])),
    ...[...MILLISECONDS, ...BYTES].flatMap((name) => ["x", "-1", "1.5", "99999999999999999999999"].map((value) => [name, value])),
    ["PEER_DATA_PING_INTERVAL_MS", "0"],
    ["PEER_DATA_MAX_MESSAGE_BYTES", "0"],
    ...PATHS.flatMap((name) => ["relative", "/a b", "/a?b"].map((value) => [name, value])),
    ...SWITCHES.map((name) => [name, "perhaps"]),
    ...["nowhere", "http://127.0.0.1", "nats://127.0.0.1:port", "redis://127.0.0.1#no prefix"].map((value) => ["PEER_DATA_CLUSTER", value]),
    ["HOST", "not a host"],
  ];
  for (const [name, value] of wrong) {
    it(`names the variable of a bad value: ${name}=${value}`, async () => {
      const { code, stderr } = await run("standalone", { env: { PORT: "0", [name]: value } });
      assert.ok(code > 0, `exit status ${code}`);
      assert.match(stderr, new RegExp(`\\b${name}\\b`));
      assert.doesNotMatch(stderr, /panicked|RUST_BACKTRACE/);
    });
  }

  it("refuses an outbox of less than two messages, naming one of them", async () => {
    const env = { PORT: "0", PEER_DATA_MAX_MESSAGE_BYTES: "1000000", PEER_DATA_OUTBOX_BYTES: "1999999" };
    const { code, stderr } = await run("standalone", { env });
    assert.ok(code > 0);
    assert.match(stderr, /PEER_DATA_OUTBOX_BYTES|PEER_DATA_MAX_MESSAGE_BYTES|outbox/);
  });

  it("says so when the port is taken", async (t) => {
    const server = await start({ t });
    const { code, stderr } = await run("standalone", { env: { PORT: String(server.port) } });
    assert.ok(code > 0);
    assert.match(stderr, new RegExp(String(server.port)));
    assert.doesNotMatch(stderr, /panicked/);
  });

  it("ends with status 0 on SIGTERM, idle or in use", async () => {
    assert.equal(await (await start()).stop("SIGTERM"), 0);
    const server = await start();
    const peers = [];
    for (const name of ["socket.io-client 2.5 polling", "socket.io-client 4.8 websocket", "plain JSON"]) {
      const peer = await kind(name).open(server.url);
      await peer.connect("room");
      peers.push(peer);
    }
    assert.equal(await server.stop("SIGTERM"), 0);
    for (const peer of peers) peer.close();
  });

  it("says goodbye on SIGTERM so that every client comes back to the next server", async (t) => {
    const server = await start();
    const { port } = server;
    const peers = [];
    for (const each of KINDS) {
      const options = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 100 };
      const peer = await each.open(server.url, { options });
      // By itself, lest the departures of others keep it from polling.
      await peer.connect(each.name);
      peers.push(peer);
    }
    const comeback = (peer) => new Promise((resolve) => peer.socket.on("connect", resolve));
    const comebacks = peers.filter((peer) => peer.name !== "plain JSON").map(comeback);
    assert.equal(await server.stop("SIGTERM"), 0);
    for (const peer of peers) {
      // A Socket.IO client that is told "io server disconnect" stays away.
      const why = peer.name === "plain JSON" ? 1001 : "transport close";
      assert.equal(await within(peer.closed, `${peer.name}: goodbye`), why, peer.name);
    }
    await start({ t, port });
    await within(Promise.all(comebacks), "all to come back");
    for (const peer of peers) peer.close();
  });

  it("tells machines how it is", async (t) => {
    const server = await start({ t });
    assert.deepEqual(await request(server, "/healthz").then(({ status, body }) => [status, body]), [200, "alive\n"]);
    assert.deepEqual(await request(server, "/readyz").then(({ status, body }) => [status, body]), [200, "ready\n"]);
    const peer = await kind("socket.io-client 2.5 polling").open(server.url);
    const { body } = await request(server, "/metrics");
    assert.match(body, /^peer_data_peers\{wire="socket_io_2",transport="polling"\} 1$/m);
    peer.close();
  });
});

describe("paths", () => {
  const answers = async (server, path) => {
    const { status, body } = await request(server, path);
    return status === 200 && /"sid":"/.test(body);
  };

  it("are configurable", async (t) => {
    const server = await start({ t, env: { PEER_DATA_PATH: "/a/signal", PEER_DATA_JSON_PATH: "/b/json" } });
    assert.ok(await answers(server, "/a/signal/?EIO=3&transport=polling"));
    for (const path of ["/socket.io/?EIO=3&transport=polling", "/peer-data", "/a/", "/a"]) {
      assert.equal((await request(server, path)).status, 404, path);
    }
    const peer = await RawJsonPeer.open(server, "/b/json");
    await peer.connect("room");
    const client = await kind("socket.io-client 4.8 upgrade").open(server.url, { options: { path: "/a/signal/" } });
    assert.deepEqual(await client.connect("room"), [peer.id]);
    client.close();
    peer.close();
  });
});
