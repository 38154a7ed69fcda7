// The two switches that bring back what the reference does.

import assert from "node:assert/strict";
import { networkInterfaces } from "node:os";
import { after, before, describe, it } from "node:test";

import { KINDS, kind } from "../support/clients.mjs";
import { event } from "../support/events.mjs";
import { Inbox } from "../support/inbox.mjs";
import { startServer } from "../support/server.mjs";

const socketIoKinds = KINDS.filter(({ revision }) => revision !== null);

describe("PEER_DATA_EXPOSE_SESSION_IDS", () => {
  let server;
  before(async () => (server = await startServer({ env: { PEER_DATA_EXPOSE_SESSION_IDS: "true" } })));
  after(() => server.stop());

  for (const { name, revision, open } of socketIoKinds) {
    it(`makes a client know itself by the id that others see: ${name}`, async () => {
      const peer = await open(server.url);
      const other = await kind("plain JSON").open(server.url);
      await other.connect(name);
      await peer.connect(name);
      assert.equal(peer.id, peer.ownId);
      assert.deepEqual((await other.next()).caller, { id: peer.ownId });
      assert.equal(peer.engine.id === peer.id, revision === 3);
      other.send(event("OFFER", { to: peer.ownId, room: name }));
      assert.equal((await peer.next()).type, "OFFER");
      peer.close();
      other.close();
    });
  }
});

/** Collects an event of a socket with all its arguments. */
function listen(peer, name) {
  const inbox = new Inbox(`${peer.name}: ${name}`);
  peer.socket.on(name, (...args) => inbox.push(args));
  return inbox;
}

const addresses = Object.values(networkInterfaces())
  .flat()
  .filter(({ family, internal }) => family === "IPv4" && !internal)
  .map(({ address }) => address)
  .sort();

describe("PEER_DATA_REFERENCE_COMPAT", () => {
  let server;
  before(async () => (server = await startServer({ env: { PEER_DATA_REFERENCE_COMPAT: "true" } })));
  after(() => server.stop());

  for (const { name, open } of socketIoKinds) {
    it(`echoes every message to its sender: ${name}`, async () => {
      const peer = await open(server.url);
      const log = listen(peer, "log");
      const other = await kind("plain JSON").open(server.url);
      await other.connect(name);
      await peer.connect(name);
      const caller = { id: peer.id };
      assert.deepEqual(await log.next(), ["SERVER_LOG", { ...event("CONNECT", { room: name }), caller }]);

      const offer = event("OFFER", { to: other.id, room: name, payload: "é😀" });
      peer.send(offer);
      assert.deepEqual(await log.next(), ["SERVER_LOG", { ...offer, caller }]);
      assert.equal((await other.next((e) => e.type === "OFFER")).payload, "é😀");

      peer.send(event("OFFER", { to: other.id, room: name, payload: Buffer.from([1, 2, 3]) }));
      const [, echoed] = await log.next();
      assert.deepEqual(Buffer.from(echoed.payload), Buffer.from([1, 2, 3]));
      assert.deepEqual((await other.next((e) => e.type === "OFFER")).payload, Buffer.from([1, 2, 3]));
      peer.close();
      other.close();
    });

    it(`answers ipaddr with every address: ${name}`, async () => {
      const peer = await open(server.url);
      const log = listen(peer, "log");
      const answers = listen(peer, "ipaddr");
      peer.socket.emit("ipaddr");
      const heard = await answers.take(addresses.length);
      assert.deepEqual(heard.map(([address]) => address).sort(), addresses);
      await peer.connect("after");
      await log.next();
      assert.deepEqual(answers.drain(), []);
      peer.close();
    });
  }
});

describe("without the switches", () => {
  let server;
  before(async () => (server = await startServer()));
  after(() => server.stop());

  for (const { name, open } of socketIoKinds) {
    it(`there is neither log nor ipaddr: ${name}`, async () => {
      const peer = await open(server.url);
      const [log, answers] = [listen(peer, "log"), listen(peer, "ipaddr")];
      peer.socket.emit("ipaddr");
      await peer.connect(name);
      await peer.ask(event("CHAT", { room: name }));
      assert.deepEqual([log.drain(), answers.drain()], [[], []]);
      peer.close();
    });
  }
});
