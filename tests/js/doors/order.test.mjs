// Nothing is lost, doubled or reordered while long-polling gives way to a websocket.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { KINDS, kind } from "../support/clients.mjs";
import { event } from "../support/events.mjs";
import { within } from "../support/inbox.mjs";
import { Polling, RawJsonPeer, Socket } from "../support/raw.mjs";
import { socketIo } from "../support/http.mjs";
import { startServer } from "../support/server.mjs";

const ROUNDS = 4;
const AFTERWARDS = 150;
/** So many before: old clients put all that waits into one POST, which has a maximum. */
const ENOUGH = 2_000;

let server;
before(async () => (server = await startServer()));
after(() => server.stop());

const tick = () => new Promise((resolve) => setTimeout(resolve, 1));

/** Sends numbered signals until `done()`, and then some more; resolves with how many there were. */
async function keepTalking(from, to, room, done) {
  let count = 0;
  for (let rest = AFTERWARDS; rest > 0; ) {
    if (done()) {
      rest -= 1;
    } else if (count === ENOUGH) {
      await tick();
      continue;
    }
    const binary = from.name !== "plain JSON" && count % 7 === 0;
    const payload = binary ? [count, Buffer.from([count & 255])] : [count];
    from.send(event("CANDIDATE", { to: to.id, room, payload }));
    count += 1;
    if (count % 3 === 0) await tick();
  }
  return count;
}

/** Takes numbered signals and asserts that each is the next one. */
async function hearsInOrder(receiver, sender, sent) {
  let expected = 0;
  const total = await sent;
  for (; expected < total; expected += 1) {
    const { payload } = await receiver.next((e) => e.type === "CANDIDATE" && e.caller.id === sender.id, `number ${expected}`);
    assert.equal(payload[0], expected, `${sender.name} to ${receiver.name}`);
    if (payload.length > 1) assert.deepEqual(payload[1], Buffer.from([expected & 255]));
  }
  const more = receiver.inbox.drain().filter((e) => e.type === "CANDIDATE");
  assert.deepEqual(more, [], `${receiver.name} heard some twice`);
}

describe("a steady exchange through the upgrade", () => {
  const upgrading = KINDS.filter((candidate) => candidate.transport === "upgrade");
  const partners = ["plain JSON", "socket.io-client 2.0 polling", "socket.io-client 4.8 upgrade"];

  for (const { name, open } of upgrading) {
    for (const partnerName of partners) {
      it(`${name} with ${partnerName}, ${ROUNDS} rounds`, async () => {
        for (let round = 1; round <= ROUNDS; round += 1) {
          const room = `${name} ${partnerName} ${round}`;
          const partner = await kind(partnerName).open(server.url, { settled: false });
          await partner.connect(room);
          const peer = await open(server.url, { settled: false });
          await peer.connect(room);

          const upgraded = () =>
            [peer, partner].every((it) => !it.name.endsWith("upgrade") || it.transportName === "websocket");
          const outward = keepTalking(peer, partner, room, upgraded);
          const inward = keepTalking(partner, peer, room, upgraded);
          await within(Promise.all([outward, inward]), "the upgrade");
          await hearsInOrder(partner, peer, outward);
          await hearsInOrder(peer, partner, inward);
          peer.close();
          partner.close();
        }
      });
    }
  }
});

describe("the upgrade step by step", () => {
  for (const revision of [3, 4]) {
    it(`revision ${revision}: each signal goes by the transport whose turn it is`, async () => {
      const room = `steps ${revision}`;
      const partner = await RawJsonPeer.open(server);
      await partner.connect(room);
      const session = await Polling.connect(server, revision);
      await session.post(`421["message",${JSON.stringify(event("CONNECT", { room }))}]`);
      const ack = (await session.get()).find((packet) => packet.startsWith("431"));
      const { id } = JSON.parse(ack.slice(3))[0];
      await partner.next((e) => e.type === "CONNECT");

      const inward = (payload) => partner.send(event("OFFER", { to: id, room, payload }));
      const outward = (payload) =>
        `42["message",${JSON.stringify(event("OFFER", { to: partner.id, room, payload }))}]`;
      const payloadOf = (packet) => JSON.parse(packet.slice(2))[1].payload;
      const taken = async () => assert.equal((await partner.next((e) => e.type === "ERROR")).payload.code, "no_such_peer");
      /** Resolves when the server has taken everything the partner has said so far. */
      const settle = () => (partner.send(event("OFFER", { to: "nobody", room })), taken());

      inward("before the probe");
      await settle();
      const probe = await Socket.open(server, socketIo({ EIO: revision, transport: "websocket", sid: session.sid }));
      assert.equal((await session.post(outward(1))).body, "ok");
      probe.send("2probe");
      assert.equal(await probe.next(), "3probe");
      assert.equal((await session.post(outward(2))).body, "ok");

      const first = (await session.get()).filter((packet) => packet !== "6");
      assert.deepEqual(first.map(payloadOf), ["before the probe"]);
      // The next poll must not be left waiting, or the client would never send its 5.
      assert.deepEqual(await session.get(), ["6"]);
      inward("between probe and upgrade");
      await settle();
      assert.equal((await session.post(outward(3))).body, "ok");
      probe.send("5");
      assert.equal(payloadOf(await probe.next()), "between probe and upgrade");
      probe.send(outward(4));
      inward("after the upgrade");
      assert.equal(payloadOf(await probe.next()), "after the upgrade");

      for (const expected of [1, 2, 3, 4]) {
        const heard = await partner.next();
        assert.deepEqual([heard.type, heard.payload, heard.caller.id], ["OFFER", expected, id]);
      }
      const late = await session.poll();
      assert.deepEqual([late.status, JSON.parse(late.body).code], [400, 3]);
      probe.socket.close();
      assert.equal((await partner.next()).type, "DISCONNECT");
    });

    it(`revision ${revision}: a waiting poll leaves with a noop when the probe is answered`, async () => {
      const session = await Polling.connect(server, revision);
      const waiting = session.get();
      const probe = await Socket.open(server, socketIo({ EIO: revision, transport: "websocket", sid: session.sid }));
      probe.send("2probe");
      assert.equal(await probe.next(), "3probe");
      assert.deepEqual(await within(waiting, "the noop"), ["6"]);
      probe.send("5");
      probe.send('421["message",{}]');
      assert.match(await probe.next((frame) => frame.startsWith("431")), /"malformed"/);
      probe.socket.close();
    });

    it(`revision ${revision}: an abandoned probe leaves the polling as it was`, async () => {
      const session = await Polling.connect(server, revision);
      const path = socketIo({ EIO: revision, transport: "websocket", sid: session.sid });
      for (const words of [[], ["2probe"]]) {
        const probe = await Socket.open(server, path);
        for (const word of words) {
          probe.send(word);
          assert.equal(await probe.next(), "3probe");
        }
        probe.socket.close();
        await probe.closed;
      }
      await session.post('421["message",{}]');
      for (;;) {
        const packets = (await session.get()).filter((packet) => packet.startsWith("431"));
        if (packets.length > 0) break;
      }
      const again = await Socket.open(server, path);
      again.send("2probe");
      assert.equal(await again.next(), "3probe");
      again.socket.close();
    });

    it(`revision ${revision}: of two probes at once only one is answered`, async () => {
      const session = await Polling.connect(server, revision);
      const path = socketIo({ EIO: revision, transport: "websocket", sid: session.sid });
      const first = await Socket.open(server, path);
      first.send("2probe");
      assert.equal(await first.next(), "3probe");
      const second = new Socket(server, path);
      await second.closed;
      assert.deepEqual(second.frames.drain(), []);
      first.send("5");
      first.send('421["message",{}]');
      assert.match(await first.next((frame) => frame.startsWith("431")), /"malformed"/);
      first.socket.close();
    });
  }
});
