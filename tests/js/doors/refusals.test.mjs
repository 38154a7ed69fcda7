// Events of wrong meaning: each is answered, reaches nobody, and the connection lives on.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";

import { assertError, assertRefusal, event } from "../support/events.mjs";
import { Bystanders, MOUTHS, RawJsonPeer, RawPollingPeer, RawSocketPeer } from "../support/raw.mjs";
import { startServer } from "../support/server.mjs";

/** Do not look at the room of the answer: the specification does not say. */
const ANY_ROOM = undefined;

const nested = (depth) => "[".repeat(depth) + "]".repeat(depth);
const quoted = (text) => JSON.stringify(text);

/** `[what, text of the event, code, room id of the answer]`; `callee` and `own` are ids of peers in the room. */
function wrongEvents({ callee, own, room: ROOM }) {
  const IN_ROOM = `"room":{"id":"${ROOM}"}`;
  const offer = (rest, room = IN_ROOM) => `{"type":"OFFER","callee":{"id":"${callee}"},${room}${rest}}`;
  const chat = (type) => `{"type":${type},"caller":null,"callee":null,${IN_ROOM},"payload":1}`;
  const inRoom = (room) => offer("", `"room":${room}`);
  const toCallee = (to) => `{"type":"OFFER","callee":${to},${IN_ROOM}}`;
  return [
    ...["null", "5", "true", '"text"', "[]", `[${offer("")}]`].map((text) => [`an event that is ${text.slice(0, 9)}`, text, "malformed", null]),
    ["an empty event", "{}", "malformed", null],

    ["no type", `{${IN_ROOM},"payload":1}`, "malformed", ROOM],
    ...["null", "5", '["CHAT"]', '{"a":1}', '""'].map((type) => [`a type that is ${type}`, chat(type), "malformed", ROOM]),
    ["a type of 257 bytes", chat(quoted("x".repeat(257))), "malformed", ROOM],
    ["a type of 129 characters and 258 bytes", chat(quoted("é".repeat(129))), "malformed", ROOM],
    ["a lone surrogate in the type", chat('"\\ud83d"'), "malformed", ROOM],

    ["no room", `{"type":"OFFER","callee":{"id":"${callee}"}}`, "malformed", null],
    ...["null", "5", `"${ROOM}"`, "[]", `["${ROOM}"]`, "{}"].map((room) => [`a room that is ${room}`, inRoom(room), "malformed", null]),
    ...["null", "5", '""', "{}", `["${ROOM}"]`, '"\\udc00"'].map((id) => [`a room id that is ${id}`, inRoom(`{"id":${id}}`), "malformed", null]),
    ["a room id of 257 bytes", inRoom(`{"id":"${"r".repeat(257)}"}`), "malformed", null],
    ["a room id of 129 characters and 258 bytes", inRoom(`{"id":"${"é".repeat(129)}"}`), "malformed", null],

    ["no callee", `{"type":"OFFER",${IN_ROOM}}`, "malformed", ROOM],
    ...["null", "5", "[]", "{}", `"${callee}"`].map((to) => [`a callee that is ${to.slice(0, 4)}`, toCallee(to), "malformed", ROOM]),
    ...["null", "5", '""', "[]", '"\\ud83d\\ud83d"'].map((id) => [`a callee id that is ${id}`, toCallee(`{"id":${id}}`), "malformed", ROOM]),
    ["a callee id of 257 bytes", toCallee(`{"id":"${"c".repeat(257)}"}`), "malformed", ROOM],

    ["type twice", offer(',"type":"ANSWER"'), "malformed", ANY_ROOM],
    ["type twice, once in escapes", offer(',"\\u0074ype":"OFFER"'), "malformed", ANY_ROOM],
    ["room twice", offer(`,${IN_ROOM}`), "malformed", ANY_ROOM],
    ["room twice, once in escapes", offer(',"r\\u006Fom":{"id":"x"}'), "malformed", ANY_ROOM],
    ["callee twice", offer(',"callee":null'), "malformed", ANY_ROOM],
    ["the room's id twice", inRoom(`{"id":"${ROOM}","id":"${ROOM}"}`), "malformed", ANY_ROOM],
    ["the room's id twice, once in escapes", inRoom(`{"id":"${ROOM}","\\u0069d":"x"}`), "malformed", ANY_ROOM],
    ["the callee's id twice", toCallee(`{"id":"${callee}","id":"x"}`), "malformed", ANY_ROOM],
    ["129 levels", offer(`,"payload":${nested(128)}`), "malformed", ANY_ROOM],
    ["500,000 levels", offer(`,"payload":${nested(250_000)}`), "malformed", ANY_ROOM],

    ...["send", ...Object.getOwnPropertyNames(Object.prototype)].map((type) => [
      `the type ${type}`, chat(quoted(type)), "forbidden_type", ROOM,
    ]),
    ["the type send in escapes", chat('"\\u0073en\\u0064"'), "forbidden_type", ROOM],

    ["a callee that is the sender", toCallee(`{"id":"${own}"}`), "refused", ROOM],
    ["an unknown callee", toCallee('{"id":"nobody"}'), "no_such_peer", ROOM],
    ["a callee __proto__", toCallee('{"id":"__proto__"}'), "no_such_peer", ROOM],
    ["a callee that is a room", toCallee(`{"id":"${ROOM}"}`), "no_such_peer", ROOM],
    ["an offer in a room of others", inRoom('{"id":"not mine"}'), "not_in_room", "not mine"],
    ["a chat in a room of others", chat('"CHAT"').replace(`"${ROOM}"`, '"not mine"'), "not_in_room", "not mine"],
    ["a departure from a room of others", chat('"DISCONNECT"').replace(`"${ROOM}"`, '"not mine"'), "not_in_room", "not mine"],
  ];
}

let server;
let bystanders;

before(async () => {
  server = await startServer();
  bystanders = await Bystanders.open(server);
});
afterEach(() => bystanders.talk());
after(async () => {
  bystanders.close();
  await server.stop();
});

let rooms = 0;

for (const mouth of MOUTHS) {
  describe(`${mouth.name}: an event with`, () => {
    let peer;
    let witness;
    let room;

    beforeEach(async () => {
      room = `room ${(rooms += 1)}`;
      witness = await RawJsonPeer.open(server);
      await witness.connect(room);
      peer = await mouth.open(server);
      await peer.connect(room);
      assert.equal((await witness.next()).type, "CONNECT");
    });
    afterEach(() => {
      peer.close();
      witness.close();
    });

    /** What the peer says is heard, and nothing was heard that should not be. */
    async function livesOn() {
      const alive = event("OFFER", { to: witness.id, room, payload: "alive" });
      peer.send(alive);
      const { text, ...heard } = await witness.next();
      assert.deepEqual(heard, { ...alive, caller: { id: peer.id } });
      assert.deepEqual(peer.events.drain(), []);
    }

    for (const [at, [what, , code]] of wrongEvents({ callee: "", own: "", room: "room" }).entries()) {
      it(`${what} is answered ${code}`, async () => {
        const [, text, , named] = wrongEvents({ callee: witness.id, own: peer.id, room })[at];
        peer.say(text);
        assertError(await peer.next(), code, named);
        if (mouth.acks) {
          assertRefusal(await peer.ask(text), code);
          assertError(await peer.next(), code, named);
        }
        await livesOn();
      });
    }

    it("what is still allowed is relayed", async () => {
      const types = ["ERROR", "READY", "Offer", "connect", "SEND", "x".repeat(256), "é".repeat(128), "tõString", "hasOwn"];
      for (const type of types) {
        peer.send(event(type, { room }));
        const heard = await witness.next();
        assert.deepEqual([heard.type, heard.caller], [type, { id: peer.id }]);
      }
      for (const name of ["r".repeat(256), "é".repeat(128), "__proto__", "constructor", " ", "\u0000", "/", "😀"]) {
        await witness.connect(name);
        await peer.connect(name);
        assert.deepEqual((await witness.next()).room, { id: name });
        peer.send(event("OFFER", { to: witness.id, room: name, payload: name }));
        assert.equal((await witness.next()).payload, name);
      }
      peer.say(`{"type":"OFFER","callee":{"id":"${witness.id}"},"room":{"id":"${room}"},"payload":${nested(127)}}`);
      assert.equal(JSON.stringify((await witness.next()).payload), nested(127));
      await livesOn();
    });

    it("the caller is replaced wherever it stands, and all the rest keeps its bytes", async () => {
      const to = `"callee":{ "id" : "${witness.id}" }`;
      const caller = `"caller":{"id":"${peer.id}"}`;
      const rest = '"payload":{"b":1,"a":[1.0,1e5,-0,"\\u00e9é\\/\\ud83d"],"b":2,"caller":"mine","__proto__":{"x":1}},"more":null';
      const cases = [
        [`{"type":"OFFER",${to},"room":{"id":"${room}"},${rest}}`, `{"type":"OFFER",${to},"room":{"id":"${room}"},${rest},${caller}}`],
        [`{"caller":"x",${rest},${to},"type":"OFFER","room":{"id":"${room}"}}`, `{${caller},${rest},${to},"type":"OFFER","room":{"id":"${room}"}}`],
        [
          `{"caller":{"id":"${witness.id}","x":[{}]},"type":"OFFER",${to},"room":{"id":"${room}"},"c\\u0061ller":null,${rest}}`,
          null,
        ],
      ];
      for (const [said, expected] of cases) {
        peer.say(said);
        const { text } = await witness.next();
        if (expected) assert.equal(text, expected);
        else {
          const callers = [...text.matchAll(/"(?:caller|c\\u0061ller)":(?=\{|null)(null|\{[^}]*\})/g)].map(([, value]) => value);
          assert.deepEqual(callers, [`{"id":"${peer.id}"}`, `{"id":"${peer.id}"}`]);
          assert.ok(text.includes(rest));
        }
      }
    });

    it("an unknown callee and one outside the room get the same answer", async () => {
      const outsider = await RawJsonPeer.open(server);
      await outsider.connect("elsewhere");
      const answers = [];
      for (const id of ["n".repeat(outsider.id.length), outsider.id]) {
        peer.send(event("OFFER", { to: id, room }));
        answers.push((await peer.next()).text);
      }
      assert.equal(answers[0], answers[1]);
      outsider.send(event("OFFER", { to: "nobody", room: "elsewhere" }));
      assert.equal((await outsider.next()).type, "ERROR", "the outsider heard of it");
      outsider.close();
    });
  });
}

describe("plain JSON", () => {
  for (const text of ["", " ", "{", "nonsense", '{"type":"CHAT"', '{"type":"CHAT"}x', '{"type":CHAT}', "{'type':'CHAT'}", '{"type":"\u0001"}', '{"type":"CHAT",}']) {
    it(`answers what is not JSON: ${quoted(text)}`, async () => {
      const peer = await RawJsonPeer.open(server);
      peer.say(text);
      assertError(await peer.next(), "malformed", null);
      await peer.connect("after");
      peer.close();
    });
  }

  it("closes with 1003 on a binary frame", async () => {
    const peer = await RawJsonPeer.open(server);
    peer.socket.send(Buffer.from("{}"));
    assert.equal((await peer.closed).code, 1003);
  });
});

describe("a binary event", () => {
  const hole = (num) => `{"_placeholder":true,"num":${num}}`;
  const revisions = {
    3: { prefix: Buffer.from([4]), base64: "b4" },
    4: { prefix: Buffer.alloc(0), base64: "b" },
  };

  for (const revision of [3, 4]) {
    for (const transport of ["websocket", "polling"]) {
      describe(`of revision ${revision} by ${transport}`, () => {
        let peer;
        let witness;
        let room;
        const { prefix, base64 } = revisions[revision];

        beforeEach(async () => {
          room = `room ${(rooms += 1)}`;
          witness = await RawSocketPeer.open(server, 4);
          await witness.connect(room);
          peer = await (transport === "polling" ? RawPollingPeer : RawSocketPeer).open(server, revision);
          await peer.connect(room);
          await witness.next((e) => e.type === "CONNECT");
        });
        afterEach(() => {
          peer.close();
          witness.close();
        });

        /** Sends a binary event, given the text after its type, and its attachments. */
        function say(members, attachments, to = witness.id) {
          const text = `{"type":"OFFER","callee":{"id":"${to}"},"room":{"id":"${room}"},${members}}`;
          peer.sendPacket(`45${attachments.length}-["message",${text}]`);
          for (const data of attachments) {
            peer.sendPacket(transport === "polling" ? base64 + data.toString("base64") : Buffer.concat([prefix, data]));
          }
        }

        const [one, two] = [Buffer.from("first"), Buffer.from([0, 255, 4])];
        const wrong = [
          ["num equal to the number of attachments", `"payload":${hole(1)}`, [one]],
          ["num below zero", `"payload":${hole(-1)}`, [one]],
          ["num a fraction", `"payload":[${hole(0)},${hole("0.5")}]`, [one]],
          ["num a string", `"payload":${hole('"0"')}`, [one]],
          ["num null", `"payload":${hole("null")}`, [one]],
          ["num of 30 digits", `"payload":${hole("9".repeat(30))}`, [one]],
          ["no num", '"payload":{"_placeholder":true}', [one]],
          ["a second placeholder out of range", `"payload":[${hole(0)},${hole(2)}]`, [one, two]],
          ["a placeholder in escapes out of range", `"payload":[${hole(0)},{"\\u005fplaceholder":true,"num":1}]`, [one]],
          ["num twice", '"payload":{"_placeholder":true,"num":0,"num":7}', [one]],
          ["an attachment that nothing refers to", '"payload":null', [one]],
          ["one of two that nothing refers to", `"payload":${hole(1)}`, [one, two]],
          ["a member that parsers call", `"payload":{"hasOwnProperty":1,"x":${hole(0)}}`, [one]],
          ["an attachment only in the caller", `"caller":${hole(0)},"payload":null`, [one]],
        ];
        for (const [what, members, attachments] of wrong) {
          it(`with ${what} is answered and relayed to nobody`, async () => {
            say(members, attachments);
            assertError(await peer.next(), "malformed");
            say(`"payload":${hole(0)}`, [one]);
            assert.match(await witness.nextPacket(), /^451-\["message",/);
            assert.deepEqual(await witness.nextPacket(), one);
            assert.deepEqual(witness.packets.drain(), []);
          });
        }

        it("is relayed with each attachment, in any order of reference, and twice", async () => {
          say(`"payload":[${hole(1)},{"x":${hole(0)}},${hole(1)}]`, [one, two]);
          assert.match(await witness.nextPacket(), /^452-\["message",/);
          assert.deepEqual(await witness.nextPacket(), one);
          assert.deepEqual(await witness.nextPacket(), two);
        });

        it("takes ten attachments", async () => {
          const ten = Array.from({ length: 10 }, (_, at) => Buffer.from([at]));
          say(`"payload":[${ten.map((_, at) => hole(at))}]`, ten);
          assert.match(await witness.nextPacket(), /^4510-\["message",/);
          for (const data of ten) assert.deepEqual(await witness.nextPacket(), data);
        });

        it("reaches a plain JSON peer as text and a binary frame for each placeholder", async () => {
          const json = await RawJsonPeer.open(server);
          await json.connect(room);
          const payload = `[${hole(1)},${hole(0)},${hole(1)}]`;
          say(`"payload":${payload}`, [one, two], json.id);
          assert.deepEqual((await json.next()).payload, JSON.parse(payload));
          for (const data of [two, one, two]) assert.deepEqual(await json.nextPacket(), data);
          json.close();
        });
      });
    }
  }
});
