// The example `limits` and the real clients: one that says too much, and others that do not notice.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { KINDS } from "../support/clients.mjs";
import { within } from "../support/inbox.mjs";
import { startServer } from "../support/server.mjs";

const ENV = { PEER_DATA_EVENTS_PER_SECOND: "50", PEER_DATA_EVENT_BURST: "100", PEER_DATA_RATE_PATIENCE_MS: "500" };

const chat = (room, payload) => ({ type: "CHAT", caller: null, callee: null, room: { id: room }, payload });

describe("limits", () => {
  for (const kind of KINDS) {
    it(`${kind.name}: a flood ends its sender, and is noticed by nobody else`, async (t) => {
      const server = await startServer({ t, name: "limits", env: ENV });
      const [ann, ben] = [await KINDS.at(-1).open(server.url), await KINDS.at(-1).open(server.url)];
      t.after(() => [ann, ben].forEach((client) => client.close()));
      await ann.connect("quiet");
      await ben.connect("quiet");
      await ann.next((event) => event.type === "CONNECT");

      const flood = await kind.open(server.url);
      t.after(() => flood.close());
      await flood.connect("loud");
      let open = true;
      const closed = flood.closed.then(() => (open = false));
      for (let number = 0; open; number += 1) {
        for (let more = 0; more < 100; more += 1) flood.send(chat("loud", number));
        ann.send(chat("quiet", number));
        assert.equal((await ben.next((event) => event.type === "CHAT")).payload, number);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await within(closed, "the end of the flood");
      ann.send(chat("quiet", "over"));
      assert.equal((await ben.next((event) => event.type === "CHAT")).payload, "over");
    });

    it(`${kind.name}: what is within the burst is all heard, in order`, async (t) => {
      const server = await startServer({ t, name: "limits", env: ENV });
      const [ann, ben] = [await kind.open(server.url), await kind.open(server.url)];
      t.after(() => [ann, ben].forEach((client) => client.close()));
      await ann.connect("call");
      await ben.connect("call");
      const count = 60;
      for (let number = 0; number < count; number += 1) ann.send(chat("call", number));
      for (let number = 0; number < count; number += 1) {
        assert.equal((await ben.next((event) => event.type === "CHAT")).payload, number);
      }
    });
  }
});
