// A real client loses its connection and comes back by itself.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import WebSocket from "ws";

import { cable } from "../support/cable.mjs";
import { kind } from "../support/clients.mjs";
import { departure, event } from "../support/events.mjs";
import { settled } from "../support/http.mjs";
import { Inbox, within } from "../support/inbox.mjs";
import { startServer } from "../support/server.mjs";

const RECONNECTS = { options: { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 20 } };

/** A client behind a cable in a room, and a witness who was there before. */
async function scene(t, name, recovery) {
  const server = await startServer({ t, env: { PEER_DATA_RECOVERY_MS: recovery } });
  const witness = await kind("plain JSON").open(server.url);
  t.after(() => witness.close());
  await witness.connect("r");
  const wire = await cable(server);
  t.after(() => wire.close());
  const client = await kind(name).open(wire.url, RECONNECTS);
  t.after(() => client.close());
  await client.connect("r");
  await witness.next(({ type }) => type === "CONNECT");
  return { server, witness, wire, client };
}

const back = ({ socket }) => within(new Promise((resolve) => socket.once("connect", resolve)), "the client is back");

const upgraded = async (client) => {
  const { engine } = client.socket.io;
  if (client.transportName !== "websocket") await within(once(engine, "upgrade"), "the upgrade");
};

/** Says numbers to the room. */
const count = (witness, from, to) => {
  for (let number = from; number < to; number += 1) witness.send(event("NUMBER", { room: "r", payload: number }));
};

async function hears(client, from, to) {
  for (let number = from; number < to; number += 1) {
    assert.equal((await client.next()).payload, number);
  }
}

/** The next that the witness hears of anybody is this. */
async function saysNext(witness, client, payload) {
  client.send(event("SAID", { room: "r", payload }));
  assert.deepEqual((await witness.next()).payload, payload);
}

/** What the README shows of this, to be copied: first of plain JSON, then of revision 3. */
const README = readFileSync(new URL("../../../README.md", import.meta.url), "utf8");
const [, CHAPTER] = /^## A lost connection$(.*?)^## /ms.exec(README);
const SHOWN = [...CHAPTER.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code);

for (const transport of ["polling", "websocket", "upgrade"]) {
  describe(`socket.io-client 4.8 ${transport}`, () => {
    it("is the same peer again, and hears what it has missed", async (t) => {
      const { server, witness, wire, client } = await scene(t, `socket.io-client 4.8 ${transport}`, "60000");
      const { id } = client;
      assert.equal(client.socket.recovered, false);
      let said = 0;
      for (let round = 0; round < 3; round += 1) {
        count(witness, said, said + 1);
        await hears(client, said, said + 1);
        // A loss between two polls, while the client upgrades, is noticed by nobody.
        if (transport === "upgrade") await upgraded(client);
        const lost = once(client.socket, "disconnect");
        await wire.cut();
        await within(lost, "the loss");
        count(witness, said + 1, said + 4);
        await settled(server);
        const returned = back(client);
        await wire.mend();
        await returned;
        assert.equal(client.socket.recovered, true);
        assert.equal(client.socket.id, id);
        count(witness, said + 4, said + 5);
        await hears(client, said + 1, said + 5);
        said += 5;
        await saysNext(witness, client, `round ${round}`);
      }
    });

    it("is another peer if it takes too long, and the room was told once", async (t) => {
      const { witness, wire, client } = await scene(t, `socket.io-client 4.8 ${transport}`, "50");
      const { id } = client;
      count(witness, 0, 1);
      await hears(client, 0, 1);
      await wire.cut();
      assert.deepEqual(await witness.next(), departure(id, "r"));
      const returned = back(client);
      await wire.mend();
      await returned;
      assert.equal(client.socket.recovered, false);
      assert.notEqual(client.socket.id, id);
      await client.connect("r");
      assert.equal((await witness.next()).caller.id, client.id);
      await saysNext(witness, client, "again");
    });
  });
}

it("lets an engine that was closed be opened again, as Socket.IO's guide tries it", async (t) => {
  const { server, witness, client } = await scene(t, "socket.io-client 4.8 upgrade", "60000");
  const { id } = client;
  await upgraded(client);
  client.socket.io.reconnectionDelayMax(1_000).reconnectionDelay(1_000);
  const returned = back(client);
  client.socket.io.engine.close();
  // Whoever is back before the loss is noticed is a new peer.
  await settled(server);
  await returned;
  assert.equal(client.socket.recovered, true);
  assert.equal(client.socket.id, id);
  await saysNext(witness, client, "back");
});

it("lets a client that leaves go at once", async (t) => {
  const { witness, client } = await scene(t, "socket.io-client 4.8 websocket", "60000");
  client.close();
  assert.deepEqual(await witness.next(), departure(client.id, "r"));
});

it("takes a plain websocket back that says what it has seen", async (t) => {
  const { witness, wire, server, client: other } = await scene(t, "plain JSON", "60000");
  other.close();
  await witness.next(({ type }) => type === "DISCONNECT");
  const url = `${wire.url.replace("http", "ws")}/peer-data`;
  let [seen, resume] = [0, null];
  const open = async () => {
    const socket = new WebSocket(url, resume === null ? [] : ["peer-data", `resume.${resume}.${seen}`]);
    const numbers = [];
    const ready = await within(
      new Promise((resolve) => {
        socket.onmessage = ({ data }) => {
          const event = JSON.parse(data);
          if (event.type === "READY") return resolve(event.payload);
          seen += 1;
          numbers.push(event.payload);
        };
      }),
      "READY",
    );
    const closed = new Promise((resolve) => (socket.onclose = resolve));
    const has = async (...wanted) => {
      const deadline = Date.now() + 20_000;
      while (numbers.length < wanted.length && Date.now() < deadline) await new Promise((done) => setTimeout(done, 5));
      assert.deepEqual(numbers.splice(0), wanted);
    };
    return { socket, ready, closed, has };
  };
  const first = await open();
  assert.equal(first.ready.resumed, false);
  resume = first.ready.resume;
  first.socket.send(JSON.stringify(event("CONNECT", { room: "r" })));
  await witness.next(({ type }) => type === "CONNECT");
  count(witness, 0, 2);
  await first.has(0, 1);
  await wire.cut();
  await within(first.closed, "the loss");
  count(witness, 2, 5);
  await settled(server);
  await wire.mend();
  const second = await open();
  assert.equal(second.ready.resumed, true);
  assert.equal(second.ready.id, first.ready.id);
  count(witness, 5, 6);
  await second.has(2, 3, 4, 5);
  second.socket.close();
  assert.deepEqual(await witness.next(), departure(first.ready.id, "r"));
});

it("takes a page back that does as the README says", async (t) => {
  const { witness, wire, server, client: other } = await scene(t, "plain JSON", "60000");
  other.close();
  await witness.connect("kitchen");
  const heard = new Inbox("the page");
  const sockets = [];
  class Noted extends WebSocket {
    constructor(...parameters) {
      super(...parameters);
      sockets.push(this);
      this.on("message", (text) => heard.push(JSON.parse(text)));
      // A page's console has it: it tries again.
      this.on("error", () => {});
    }
  }
  let again;
  const later = (act, ms) => (again = setTimeout(act, ms));
  t.after(() => {
    for (const socket of sockets) socket.onclose = null;
    clearTimeout(again);
    sockets.at(-1).terminate();
  });
  const [shown] = SHOWN;
  assert.ok(shown.includes("wss://example.org/"));
  const page = shown.replace("wss://example.org", wire.url.replace("http", "ws"));
  new Function("WebSocket", "setTimeout", `${page}\nconnect();`)(Noted, later);

  const { payload: ready } = await heard.next();
  assert.equal((await witness.next(({ type }) => type === "CONNECT")).caller.id, ready.id);
  const say = (payload) => witness.send(event("NUMBER", { room: "kitchen", payload }));
  say(0);
  assert.equal((await heard.next()).payload, 0);
  await wire.cut();
  await within(new Promise((resolve) => sockets[0].on("close", resolve)), "the loss");
  say(1);
  await settled(server);
  await wire.mend();
  say(2);
  const { type, payload } = await heard.next();
  assert.equal(type, "READY");
  assert.deepEqual([payload.resumed, payload.id], [true, ready.id]);
  for (const number of [1, 2]) assert.equal((await heard.next()).payload, number);
  witness.send(event("WHO", { to: ready.id, room: "kitchen" }));
  assert.equal((await heard.next()).type, "WHO");
  assert.deepEqual(witness.inbox.drain().filter(({ type }) => type !== "DISCONNECT"), [], "nobody has joined anew");
});

it("gives a client of revision 3 a new id, with which it joins again as the README says", async (t) => {
  const { witness, wire, client } = await scene(t, "socket.io-client 2.5 websocket", "60000");
  const { id, socket } = client;
  new Function("socket", "rooms", SHOWN[1])(socket, ["r"]);
  await wire.cut();
  assert.deepEqual(await witness.next(), departure(id, "r"));
  const returned = back(client);
  await wire.mend();
  await returned;
  const joined = await witness.next();
  assert.equal(joined.type, "CONNECT");
  assert.notEqual(joined.caller.id, id);
  client.send(event("SAID", { room: "r" }));
  assert.deepEqual((await witness.next()).caller, joined.caller);
});
