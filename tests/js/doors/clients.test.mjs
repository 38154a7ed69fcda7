// Every client, by every transport, in one room.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { cable } from "../support/cable.mjs";
import { KINDS, kind } from "../support/clients.mjs";
import { assertError, assertRefusal, departure, event } from "../support/events.mjs";
import { startServer } from "../support/server.mjs";

const ROOM = "meeting 😀";

describe("every client in one room", () => {
  let server;
  const peers = [];
  const others = (peer) => peers.filter((other) => other !== peer);
  const socketIoPeers = () => peers.filter((peer) => peer.socket.emit && peer.ask);

  /** Has everybody say something to everybody: all of it must arrive, once, in order. */
  async function everybodyToEverybody(say, from = peers) {
    for (const sender of from) for (const receiver of others(sender)) say(sender, receiver);
  }

  /** Every peer sends every other a last event; nothing else may be in between. */
  async function nothingMore(label) {
    const fence = `fence: ${label}`;
    await everybodyToEverybody((sender, receiver) =>
      sender.send(event("CANDIDATE", { to: receiver.id, room: ROOM, payload: fence })),
    );
    for (const peer of peers) {
      const heard = await peer.inbox.take(peers.length - 1, (e) => e.payload === fence);
      assert.deepEqual(heard.map((e) => e.caller.id).sort(), others(peer).map((other) => other.id).sort(), peer.name);
      assert.deepEqual(peer.inbox.drain(), [], `${peer.name} heard more than it should`);
    }
  }

  before(async () => {
    server = await startServer();
    for (const { open } of KINDS) peers.push(await open(server.url));
  });

  after(async () => {
    for (const peer of peers) peer.close();
    await server.stop();
  });

  it("tells who is there already, and tells them who joins", async () => {
    for (const [at, peer] of peers.entries()) {
      const found = await peer.connect(ROOM);
      const earlier = peers.slice(0, at).map((other) => other.id);
      if (found) assert.deepEqual([...found].sort(), [...earlier].sort(), peer.name);
    }
    assert.equal(new Set(peers.map((peer) => peer.id)).size, peers.length);
    for (const [at, peer] of peers.entries()) {
      for (const newcomer of peers.slice(at + 1)) {
        assert.deepEqual(await peer.next(), { ...event("CONNECT", { room: ROOM }), caller: { id: newcomer.id } });
      }
    }
    await nothingMore("after joining");
  });

  it("joins again and tells the others again", async () => {
    for (const peer of [peers[0], peers.at(-1)]) {
      await peer.connect(ROOM);
      for (const other of others(peer)) {
        assert.deepEqual(await other.next(), { ...event("CONNECT", { room: ROOM }), caller: { id: peer.id } });
      }
    }
    await nothingMore("after joining again");
  });

  it("carries offers, answers and candidates in order between every two kinds", async () => {
    const conversation = [
      ["OFFER", { type: "offer", sdp: "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n" }],
      ["CANDIDATE", { candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host", sdpMid: "0", sdpMLineIndex: 0 }],
      ["CANDIDATE", null],
      ["ANSWER", { type: "answer", sdp: "\"quoted\" back\\slash \u2028 \u0000 end" }],
      ["CANDIDATE", ["é", "😀", "𝄞 and 中文", "\ud83d", "\udc00 alone", { "": [] }]],
    ];
    await everybodyToEverybody((sender, receiver) => {
      for (const [type, payload] of conversation) {
        sender.send(event(type, { to: receiver.id, room: ROOM, payload }));
      }
    });
    for (const receiver of peers) {
      for (const sender of others(receiver)) {
        for (const [type, payload] of conversation) {
          const heard = await receiver.next((e) => e.caller.id === sender.id, `${type} from ${sender.name}`);
          const sent = event(type, { to: receiver.id, room: ROOM, payload });
          assert.deepEqual(heard, { ...sent, caller: { id: sender.id } }, `${sender.name} to ${receiver.name}`);
        }
      }
    }
    await nothingMore("after the conversation");
  });

  it("carries 100 KB between every two kinds", async () => {
    const payload = "long 😀".repeat(15_000).slice(0, 100_000);
    for (const sender of peers) {
      for (const receiver of others(sender)) {
        // One by one: a polling client would put them all into one body, which is over the maximum.
        sender.send(event("OFFER", { to: receiver.id, room: ROOM, payload: { from: sender.name, payload } }));
        const heard = await receiver.next((e) => e.payload.from === sender.name, `100 KB from ${sender.name}`);
        assert.ok(heard.payload.payload === payload, `${sender.name} to ${receiver.name}: not what was sent`);
      }
    }
    await nothingMore("after the long ones");
  });

  it("gives every other type to the rest of the room", async () => {
    for (const sender of peers) {
      for (const type of ["CHAT", "offer", "x".repeat(256)]) {
        sender.send(event(type, { room: ROOM, payload: { text: "hello" } }));
        for (const receiver of others(sender)) {
          const sent = event(type, { room: ROOM, payload: { text: "hello" } });
          assert.deepEqual(await receiver.next(), { ...sent, caller: { id: sender.id } });
        }
      }
    }
    await nothingMore("after the chat");
  });

  it("acknowledges with one object", async () => {
    const [callee] = peers;
    for (const peer of socketIoPeers()) {
      const id = peer.id;
      const target = peer === callee ? peers[1] : callee;
      assert.deepEqual(await peer.ask(event("OFFER", { to: target.id, room: ROOM })), { ok: true, id, delivered: 1 });
      await target.next((e) => e.type === "OFFER");
      assert.deepEqual(await peer.ask(event("CHAT", { room: ROOM })), { ok: true, id, delivered: peers.length - 1 });
      for (const other of others(peer)) await other.next((e) => e.type === "CHAT");
    }
    await nothingMore("after the acks");
  });

  it("answers a refused event with an ERROR and with the ack, if one was asked for", async () => {
    for (const peer of socketIoPeers()) {
      const cases = [
        [event("OFFER", { to: "nobody", room: ROOM }), "no_such_peer"],
        [event("OFFER", { to: peers[0].id, room: "elsewhere" }), "not_in_room"],
        [event("send", { room: ROOM }), "forbidden_type"],
      ];
      for (const [refused, code] of cases) {
        assertRefusal(await peer.ask(refused), code);
        assertError(await peer.next(), code, refused.room.id);
        peer.send(refused);
        assertError(await peer.next(), code, refused.room.id);
      }
    }
    await nothingMore("after the refusals");
  });

  it("keeps session ids to itself, and routes to them", async () => {
    const [caller] = peers.slice(-1);
    for (const peer of socketIoPeers()) {
      const { revision } = kind(peer.name);
      assert.equal(peer.ownId === peer.id, revision === 4, `${peer.name}: ${peer.ownId} and ${peer.id}`);
      if (revision === 4) assert.notEqual(peer.engine.id, peer.id);
      caller.send(event("OFFER", { to: peer.ownId, room: ROOM, payload: "by the id it knows itself by" }));
      const heard = await peer.next();
      assert.equal(heard.payload, "by the id it knows itself by");
      assert.deepEqual(heard.caller, { id: caller.id });
    }
    await nothingMore("after the session ids");
  });

  it("carries binary between every two kinds", async () => {
    const attachments = () => ({
      one: Buffer.from([1, 2, 3, 0, 255, 4]),
      list: ["text", Buffer.from("é😀"), { deep: Buffer.alloc(5_000, 7) }],
      empty: Buffer.alloc(0),
    });
    await everybodyToEverybody((sender, receiver) => {
      const signal = (payload) => event("OFFER", { to: receiver.id, room: ROOM, payload });
      sender.send(signal({ ...attachments(), from: sender.name }));
      sender.send(event("CANDIDATE", { to: receiver.id, room: ROOM, payload: "after the binary" }));
      sender.send(signal(Uint8Array.from([9, 8, 7]).buffer));
    }, socketIoPeers());
    for (const receiver of peers) {
      for (const sender of socketIoPeers().filter((peer) => peer !== receiver)) {
        const label = `${sender.name} to ${receiver.name}`;
        const [first, second, third] = await receiver.inbox.take(3, (e) => e.caller.id === sender.id);
        assert.deepEqual(first.payload, { ...attachments(), from: sender.name }, label);
        assert.deepEqual(first.caller, { id: sender.id }, label);
        assert.equal(second.payload, "after the binary", label);
        assert.deepEqual(third.payload, Buffer.from([9, 8, 7]), label);
      }
    }
    await nothingMore("after the binary");
  });

  it("tells the others who leaves, and no longer lets them talk there", async () => {
    for (const peer of peers) {
      peer.leave(ROOM);
      for (const other of others(peer)) assert.deepEqual(await other.next(), departure(peer.id, ROOM));
      peer.send(event("CHAT", { room: ROOM }));
      assertError(await peer.next(), "not_in_room", ROOM);
      await peer.connect(ROOM);
      for (const other of others(peer)) assert.equal((await other.next()).type, "CONNECT");
    }
    await nothingMore("after leaving and coming back");
  });
});

describe("a connection that ends", () => {
  let server;
  const rooms = ["one", "__proto__"];
  const witnesses = [];

  before(async () => {
    server = await startServer();
    for (const name of ["plain JSON", "socket.io-client 2.0 polling", "socket.io-client 4.8 upgrade"]) {
      witnesses.push(await kind(name).open(server.url));
    }
    for (const witness of witnesses) for (const room of rooms) await witness.connect(room);
    for (const witness of witnesses) await settle(witness);
  });

  after(async () => {
    for (const witness of witnesses) witness.close();
    await server.stop();
  });

  /** Empties the witness's inbox of everything that was said before now. */
  async function settle(witness) {
    const speaker = witnesses.find((other) => other !== witness);
    speaker.send(event("OFFER", { to: witness.id, room: "one", payload: "settle" }));
    await witness.next((e) => e.payload === "settle");
    return witness.inbox.drain();
  }

  for (const { name, open } of KINDS) {
    for (const way of ["closed by the client", "cut off"]) {
      it(`is told once to each room: ${name}, ${way}`, async () => {
        const wire = await cable(server);
        const peer = await open(wire.url);
        for (const room of rooms) {
          await peer.connect(room);
          for (const witness of witnesses) {
            const joined = await witness.next((e) => e.type === "CONNECT");
            assert.deepEqual([joined.caller.id, joined.room.id], [peer.id, room]);
          }
        }
        if (way === "cut off") await wire.cut();
        else peer.close();
        for (const witness of witnesses) {
          for (const room of rooms) {
            const told = await witness.next((e) => e.room.id === room, `${name} has left ${room}`);
            assert.deepEqual(told, departure(peer.id, room));
          }
          assert.deepEqual(await settle(witness), []);
        }
        peer.close();
        wire.close();
      });
    }
  }
});
