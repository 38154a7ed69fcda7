// How a session ends: by its client, by broken bytes, by rules of the transport. The room hears of it once.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";

import { departure, event } from "../support/events.mjs";
import { request, settled, socketIo, speak } from "../support/http.mjs";
import { within } from "../support/inbox.mjs";
import { Bystanders, Polling, RawJsonPeer, RawPollingPeer, RawSocketPeer, Socket } from "../support/raw.mjs";
import { startServer } from "../support/server.mjs";

let server;
let bystanders;
let witness;
let room;
let rooms = 0;

before(async () => {
  server = await startServer();
  bystanders = await Bystanders.open(server);
});
beforeEach(async () => {
  room = `room ${(rooms += 1)}`;
  witness = await RawJsonPeer.open(server);
  await witness.connect(room);
});
afterEach(async () => {
  witness.close();
  await bystanders.talk();
});
after(async () => {
  bystanders.close();
  await server.stop();
});

/** A server of the test's own, which waits a second for that: others may need longer on a busy machine. */
async function impatient(t, what) {
  const server = await startServer({ env: { [`PEER_DATA_${what}_TIMEOUT_MS`]: "1000" } });
  t.after(() => server.stop());
  return server;
}

/** Enters the room with a raw peer; the witness has seen it. */
async function enter(peer) {
  await peer.connect(room);
  assert.equal((await witness.next()).type, "CONNECT");
  return peer;
}

/** The witness hears that the peer is gone, and hears it once. */
async function isGone(id) {
  const { text, ...told } = await witness.next();
  assert.deepEqual(told, departure(id, room));
  await nothingMore();
}

async function nothingMore() {
  witness.send(event("OFFER", { to: "nobody", room }));
  assert.equal((await witness.next()).type, "ERROR", "the room heard more than that");
}

const CODE_1 = { code: 1, message: "Session ID unknown" };
const unknown = async (session) => {
  const { status, body } = await session.poll();
  assert.deepEqual([status, JSON.parse(body)], [400, CODE_1]);
};

const CARRIERS = [3, 4].flatMap((revision) => [
  { name: `revision ${revision} by websocket`, revision, transport: "websocket", open: () => RawSocketPeer.open(server, revision) },
  { name: `revision ${revision} by polling`, revision, transport: "polling", open: () => RawPollingPeer.open(server, revision) },
]);

for (const { name, revision, transport, open } of CARRIERS) {
  describe(`${name}: the connection ends`, () => {
    const broken = [
      ["an event that is an object", ["42{}"]],
      ["an event that is empty", ["42[]"]],
      ["an event whose name is a number", ["42[1,{}]"]],
      ["an event whose name is an object", ['42[{"type":"DISCONNECT"}]']],
      ["an event whose name is null", ["42[null]"]],
      ["an event without data", ["42"]],
      ["an event that is a string", ['42"message"']],
      ["text while an attachment is due", ['451-["message",{"_placeholder":true,"num":0}]', '42["message",{}]']],
      ["a binary event of eleven attachments", ['4511-["message",{}]']],
      ["a binary event of no number", ['45-["message",{}]']],
      ["an Engine.IO packet abc", ["abc"]],
      ["an Engine.IO packet 9", ["9"]],
      ["an Engine.IO packet without a type", transport === "polling" && revision === 4 ? ["9", ""] : [""]],
    ];
    for (const [what, packets] of broken) {
      it(`on ${what}`, async () => {
        const peer = await enter(await open());
        for (const packet of packets) peer.sendPacket(packet);
        await peer.closed;
        await isGone(peer.id);
      });
    }

    it("on binary that was not announced", async () => {
      const peer = await enter(await open());
      const base64 = revision === 3 ? "b4AQID" : "bAQID";
      peer.sendPacket(transport === "polling" ? base64 : Buffer.from([4, 1, 2, 3]));
      await peer.closed;
      await isGone(peer.id);
    });

    it("never by relaying what is not JSON", async () => {
      for (const text of ['{"type":"CHAT"', '{"type":"CHAT",}', "{'type':1}", '{"type":"CHAT","payload":01}', '{"type":"CHAT","payload":"\n"}', "\\ud83d"]) {
        const peer = await enter(await open());
        peer.say(text.replace('"CHAT"', `"CHAT","room":{"id":"${room}"}`));
        // Closed or answered: the room must hear nothing of it but, perhaps, that the peer is gone.
        await Promise.race([peer.closed, peer.next((e) => e.type === "ERROR")]);
        peer.close();
        await isGone(peer.id);
      }
    });

    it("for the room, not for the transport, on a Socket.IO disconnect", async () => {
      const peer = await enter(await open());
      peer.sendPacket("41");
      await isGone(peer.id);
      if (revision === 3) {
        peer.sendPacket("2");
        await peer.nextPacket((packet) => packet === "3");
      }
      peer.close();
      await nothingMore();
    });

    it("not on another namespace, which is answered", async () => {
      const peer = await enter(await open());
      for (const [said, named] of [["40/nope,", "/nope"], ["40/nope?x=1,", "/nope"], ["40/a/b,{}", "/a/b"]]) {
        peer.sendPacket(said);
        const answer = await peer.nextPacket((packet) => packet.startsWith("44"));
        const problem = answer.slice(answer.indexOf(",") + 1);
        assert.ok(answer.startsWith(`44${named}`), answer);
        assert.deepEqual(JSON.parse(problem), revision === 3 ? "Invalid namespace" : { message: "Invalid namespace" });
      }
      assert.ok((await peer.ask(event("CHAT", { room }))).ok);
      peer.close();
    });

    it(revision === 3 ? "not on a CONNECT of its own" : "on a second CONNECT", async () => {
      const peer = await enter(await open());
      peer.sendPacket("40");
      if (revision === 3) {
        assert.ok((await peer.ask(event("CHAT", { room }))).ok);
        assert.equal((await witness.next()).type, "CHAT");
        peer.close();
      }
      await peer.closed;
      await isGone(peer.id);
    });

    it("by a close packet", async () => {
      const peer = await enter(await open());
      peer.sendPacket("1");
      await peer.closed;
      await isGone(peer.id);
    });

    it("when the client is cut off", async () => {
      const peer = await enter(await open());
      peer.cut();
      await isGone(peer.id);
    });
  });
}

for (const revision of [3, 4]) {
  describe(`polling of revision ${revision}`, () => {
    const close = revision === 3 ? "1:1" : "1";
    const noop = revision === 3 ? "1:6" : "6";

    it("ends a waiting poll with a noop when the client closes, then knows the session no more", async () => {
      for (let attempt = 1; ; attempt += 1) {
        const session = await Polling.connect(server, revision);
        const waiting = session.poll();
        assert.equal((await session.post("1")).body, "ok");
        const { status, body } = await waiting;
        await unknown(session);
        // On two connections the POST may arrive so long before that the poll is not waited for.
        if (status === 400 && attempt < 20) continue;
        assert.deepEqual([status, body], [200, noop]);
        break;
      }
    });

    it("ends with two polls at once", async () => {
      const session = await Polling.connect(server, revision);
      await session.post(`421["message",${JSON.stringify(event("CONNECT", { room }))}]`);
      const { id } = JSON.parse((await session.get())[0].slice(3))[0];
      assert.equal((await witness.next()).type, "CONNECT");
      const answers = await Promise.all([session.poll(), session.poll()]);
      const statuses = answers.map((answer) => answer.status).sort();
      assert.deepEqual(statuses, [200, 400]);
      assert.equal(answers.find((answer) => answer.status === 200).body, close);
      await isGone(id);
      await unknown(session);
    });

    it("a poll that is cut while it waits ends the session", async () => {
      const session = await Polling.connect(server, revision);
      await session.post(`421["message",${JSON.stringify(event("CONNECT", { room }))}]`);
      const { id } = JSON.parse((await session.get())[0].slice(3))[0];
      assert.equal((await witness.next()).type, "CONNECT");
      const line = speak(server, `GET ${session.path()} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await settled(server);
      line.socket.end();
      await isGone(id);
    });

    it("takes what is broken in a body with ok, and ends", async () => {
      const bodies = revision === 3 ? ["abc", "5:42", "-1:42", "999999999999999999999:4", ":4", "1:22", "2:40abc"] : ["abc", "\x1e", "2\x1e\x1eabc"];
      for (const body of bodies) {
        const session = await Polling.connect(server, revision);
        const { status, body: answer } = await session.postBody(body);
        assert.deepEqual([status, answer], [200, "ok"], body);
        const { status: after } = await session.poll();
        if (after === 200) await unknown(session);
        else assert.equal(after, 400);
      }
    });

    it("answers overlapping POSTs in the order of their arrival", async () => {
      const peer = await enter(await RawPollingPeer.open(server, revision));
      const bodies = Array.from({ length: 20 }, (_, at) =>
        peer.polling.post(`42["message",${JSON.stringify(event("CHAT", { room, payload: at }))}]`),
      );
      for (const answer of await Promise.all(bodies)) assert.equal(answer.body, "ok");
      const heard = (await witness.events.take(20)).map((e) => e.payload);
      assert.deepEqual([...heard].sort((a, b) => a - b), bodies.map((_, at) => at));
      peer.close();
    });

    it("refuses odd methods on a live session", async () => {
      const session = await Polling.connect(server, revision);
      for (const method of ["PUT", "DELETE", "PATCH"]) {
        const { status } = await request(server, session.path(), { method });
        assert.ok(status >= 400, `${method}: ${status}`);
      }
    });
  });
}

describe("binary bodies of revision 3", () => {
  const packet = (kind, data) =>
    Buffer.concat([Buffer.from([kind, ...String(data.length).split("").map(Number), 255]), data]);

  it("are taken, and answered to a client that did not say b64", async () => {
    const session = await Polling.connect(server, 3);
    await session.post(`421["message",${JSON.stringify(event("CONNECT", { room }))}]`);
    const { id } = JSON.parse((await session.get())[0].slice(3))[0];
    assert.equal((await witness.next()).caller.id, id);
    const text = `451-["message",{"type":"OFFER","callee":{"id":"${witness.id}"},"room":{"id":"${room}"},"payload":["é😀",{"_placeholder":true,"num":0}]}]`;
    const body = Buffer.concat([packet(0, Buffer.from(text)), packet(1, Buffer.from([4, 1, 2, 3]))]);
    assert.equal((await session.postBody(body, { "content-type": "application/octet-stream" })).body, "ok");
    assert.equal((await witness.next()).payload[0], "é😀");
    assert.deepEqual(await witness.nextPacket(), Buffer.from([1, 2, 3]));

    const other = await enter(await RawSocketPeer.open(server, 4));
    assert.match((await session.get())[0], /CONNECT/);
    other.sendPacket(`451-["message",{"type":"OFFER","callee":{"id":"${id}"},"room":{"id":"${room}"},"payload":["é😀",{"_placeholder":true,"num":0}]}]`);
    other.sendPacket(Buffer.from([9, 8]));
    const { headers, bytes } = await session.poll();
    assert.equal(headers["content-type"], "application/octet-stream");
    const event_ = `451-["message",{"type":"OFFER","callee":{"id":"${id}"},"room":{"id":"${room}"},"payload":["é😀",{"_placeholder":true,"num":0}],"caller":{"id":"${other.id}"}}]`;
    assert.deepEqual(bytes, Buffer.concat([packet(0, Buffer.from(event_)), packet(1, Buffer.from([4, 9, 8]))]));
    other.close();
  });
});

describe("a websocket", () => {
  const path = (revision, sid) => socketIo({ EIO: revision, transport: "websocket", ...(sid && { sid }) });

  for (const revision of [3, 4]) {
    it(`of revision ${revision}: a second one on its session is closed, the first lives`, async () => {
      const peer = await enter(await RawSocketPeer.open(server, revision));
      const second = new Socket(server, path(revision, peer.session));
      await second.closed;
      assert.deepEqual(second.frames.drain(), []);
      assert.ok((await peer.ask(event("CHAT", { room }))).ok);
      peer.close();
    });

    it(`of revision ${revision}: a poll that is sent after the switch is refused, however soon`, async () => {
      for (let attempt = 0; attempt < 20; attempt += 1) {
        const session = await Polling.connect(server, revision);
        const probe = await Socket.open(server, path(revision, session.sid));
        probe.send("2probe");
        assert.equal(await probe.next(), "3probe");
        probe.send("5");
        assert.equal((await session.poll()).status, 400);
        probe.socket.close();
      }
    });

    it(`of revision ${revision}: a probe that stops half way is closed after the upgrade timeout`, async (t) => {
      const server = await impatient(t, "UPGRADE");
      for (const words of [[], ["2probe"]]) {
        const session = await Polling.connect(server, revision);
        const probe = await Socket.open(server, path(revision, session.sid));
        for (const word of words) probe.send(word);
        await probe.closed;
        assert.equal((await session.post(revision === 3 ? "2" : "3")).body, "ok");
      }
    });

    it(`of revision ${revision}: a probe that says something else is closed`, async () => {
      for (const words of ["2", "42[]", "probe", ""]) {
        const session = await Polling.connect(server, revision);
        const probe = await Socket.open(server, path(revision, session.sid));
        probe.send(words);
        await probe.closed;
      }
    });
  }

  it("of revision 4 that never asks for its namespace is closed after the connect timeout", async (t) => {
    const server = await impatient(t, "CONNECT");
    const socket = await Socket.open(server, path(4));
    await socket.closed;
    const session = await Polling.open(server, 4);
    const { status, body } = await session.poll();
    assert.ok((status === 200 && body === "1") || status === 400, `${status} ${body}`);
  });

  const ways = {
    "revision 3": path(3),
    "revision 4": path(4),
    "plain JSON": "/peer-data",
  };
  for (const [name, where] of Object.entries(ways)) {
    const ends = async (act, code) => {
      const socket = await Socket.open(server, where);
      await socket.next();
      act(socket);
      assert.equal((await socket.closed).code, code);
    };

    it(`by ${name}: a message over the maximum closes with 1009`, () => ends((s) => s.send("4".repeat(1_000_001)), 1009));
    it(`by ${name}: fragments over the maximum close with 1009`, () =>
      ends((s) => {
        for (let at = 0; at < 11; at += 1) s.send("4".repeat(100_000), { fin: false });
      }, 1009));
    it(`by ${name}: more than 4,096 fragments close it`, () =>
      ends((s) => {
        for (let at = 0; at < 4_100; at += 1) s.send("4", { fin: false });
      }, 1008));
    it(`by ${name}: a frame without a mask closes with 1002`, () => ends((s) => s.send("42[]", { mask: false }), 1002));
    it(`by ${name}: text that is not UTF-8 closes with 1007`, () =>
      ends((s) => s.send(Buffer.from([0x34, 0xff, 0xfe]), { binary: false }), 1007));
    it(`by ${name}: a close is answered with its code`, () => ends((s) => s.socket.close(1000), 1000));

    it(`by ${name}: a ping is answered with its data`, async () => {
      const socket = await Socket.open(server, where);
      await socket.next();
      const pong = new Promise((resolve) => socket.socket.on("pong", resolve));
      socket.socket.ping("data");
      assert.equal(String(await within(pong, "the pong")), "data");
      socket.socket.close();
    });
  }

  it("takes a message in fragments with a ping between them", async () => {
    const peer = await RawJsonPeer.open(server);
    const text = JSON.stringify({ type: "CONNECT", room: { id: room }, payload: "é😀" });
    const bytes = Buffer.from(text);
    const cut = text.indexOf("é") + 1; // in the middle of the character
    peer.socket.send(bytes.subarray(0, cut), { fin: false, binary: false });
    peer.socket.socket.ping();
    peer.socket.send(bytes.subarray(cut), { fin: true, binary: false });
    assert.equal((await witness.next()).payload, "é😀");
    peer.close();
  });
});
