// What is answered over HTTP: handshakes, refused requests, preflights, the plain JSON path.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import WebSocket from "ws";

import { request, socketIo, speak } from "../support/http.mjs";
import { Bystanders, Polling, RawSocketPeer, Socket } from "../support/raw.mjs";
import { startServer } from "../support/server.mjs";

const ORIGIN = "http://o.test";

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

function assertRefused({ status, headers, body }, code) {
  const messages = {
    0: "Transport unknown",
    1: "Session ID unknown",
    2: "Bad handshake method",
    3: "Bad request",
    5: "Unsupported protocol version",
  };
  assert.deepEqual([status, JSON.parse(body)], [400, { code, message: messages[code] }]);
  assert.match(headers["content-type"], /^application\/json/);
}

describe("a handshake", () => {
  it("of revision 3 by polling brings the CONNECT along", async () => {
    const { status, headers, body } = await request(server, socketIo({ EIO: 3, transport: "polling", t: "Nabc" }));
    assert.equal(status, 200);
    assert.equal(headers["content-type"], "text/plain; charset=UTF-8");
    const [, length, opening, rest] = /^(\d+):0(\{.*?\})(.*)$/.exec(body);
    assert.equal(Number(length), opening.length + 1);
    const handshake = JSON.parse(opening);
    assert.match(handshake.sid, /^[A-Za-z0-9_-]{20}$/);
    assert.deepEqual(handshake.upgrades, ["websocket"]);
    assert.deepEqual([handshake.pingInterval, handshake.pingTimeout], [25_000, 20_000]);
    assert.ok(rest === "2:40" || rest === "", rest);
  });

  it("of revision 4 by polling announces the maximum and waits for the CONNECT", async () => {
    const session = await Polling.open(server, 4);
    const { sid, ...rest } = session.handshake;
    assert.deepEqual(rest, { upgrades: ["websocket"], pingInterval: 25_000, pingTimeout: 20_000, maxPayload: 1_000_000 });
    assert.deepEqual(session.early, []);
    // A second may end between the two.
    const says = async (packet) => {
      const { headers, ...answer } = await session.post(packet);
      return { ...answer, headers: { ...headers, date: null } };
    };
    assert.deepEqual(await says("40"), { ...(await says("3")), body: "ok" });
    const [connected] = await session.get();
    const { sid: id } = JSON.parse(/^40(.*)$/.exec(connected)[1]);
    assert.notEqual(id, sid);
  });

  for (const revision of [3, 4]) {
    it(`of revision ${revision} by websocket offers no upgrades`, async () => {
      const peer = await RawSocketPeer.open(server, revision);
      assert.deepEqual(peer.handshake.upgrades, []);
      assert.match(peer.session, /^[A-Za-z0-9_-]{20}$/);
      peer.close();
    });

    it(`of revision ${revision} takes any order, escapes and extra parameters`, async () => {
      for (const query of [
        `transport=polling&EIO=${revision}`,
        `t=1&EIO=${revision}&room=a&transport=polling&x`,
        `%45IO=${revision}&transport=poll%69ng&&=`,
        `EIO=${revision}&transport=polling&x=%ff%zz&token=${"a".repeat(2_000)}`,
      ]) {
        const { status, body } = await request(server, `/socket.io/?${query}`);
        assert.equal(status, 200, query);
        assert.match(body, /"sid":"/);
      }
    });

    it(`of revision ${revision} answers a POST with ok`, async () => {
      const session = await Polling.connect(server, revision);
      const { status, headers, body } = await session.post(revision === 3 ? "2" : "3");
      assert.deepEqual([status, headers["content-type"], headers["content-length"], body], [200, "text/html", "2", "ok"]);
    });
  }

  it("of revision 4 carries an auth payload", async () => {
    const session = await Polling.open(server, 4);
    await session.post('40{"token":"x","deep":{"a":[1]}}');
    assert.match((await session.get())[0], /^40\{"sid":/);
  });

  it("gives every session another id", async () => {
    const sids = await Promise.all(Array.from({ length: 50 }, async () => (await Polling.open(server, 3)).sid));
    assert.equal(new Set(sids).size, 50);
  });
});

describe("a request is refused", () => {
  for (const query of ["", "?", "?EIO=3", "?EIO=3&transport=", "?EIO=4&transport=tobi", "?EIO=4&transport=flashsocket", "?EIO=3&transport=__proto__"]) {
    it(`with code 0: transport of ${JSON.stringify(query)}`, async () => {
      assertRefused(await request(server, `/socket.io/${query}`), 0);
    });
  }

  for (const sid of ["tobi", "__proto__", "x".repeat(20), "x".repeat(5_000), "%00", "%F0%9F%98%80"]) {
    for (const method of ["GET", "POST", "PUT"]) {
      it(`with code 1: unknown sid ${sid.slice(0, 20)}, ${method}`, async () => {
        assertRefused(await request(server, `/socket.io/?EIO=4&transport=polling&sid=${sid}`, { method }), 1);
      });
    }
  }

  for (const method of ["POST", "PUT", "DELETE", "PATCH"]) {
    it(`with code 2: ${method} without sid`, async () => {
      assertRefused(await request(server, socketIo({ EIO: 3, transport: "polling" }), { method, body: "2:40" }), 2);
    });
  }

  it("with code 3: a plain GET for a websocket", async () => {
    for (const revision of [3, 4]) {
      assertRefused(await request(server, socketIo({ EIO: revision, transport: "websocket" })), 3);
    }
  });

  it("with code 3: polling a session that was born on a websocket", async () => {
    for (const revision of [3, 4]) {
      const peer = await RawSocketPeer.open(server, revision);
      for (const method of ["GET", "POST"]) {
        const path = socketIo({ EIO: revision, transport: "polling", sid: peer.session });
        assertRefused(await request(server, path, { method, body: method === "POST" ? "1:2" : undefined }), 3);
      }
      await peer.connect("still alive");
      peer.close();
    }
  });

  it("with code 3: a sid used with the other revision", async () => {
    for (const [revision, other] of [[3, 4], [4, 3]]) {
      const session = await Polling.connect(server, revision);
      for (const method of ["GET", "POST"]) {
        const path = socketIo({ EIO: other, transport: "polling", sid: session.sid });
        assertRefused(await request(server, path, { method, body: method === "POST" ? "2" : undefined }), 3);
      }
      assert.equal((await session.post(revision === 3 ? "2" : "3")).body, "ok");
    }
  });

  for (const version of ["", "EIO=&", "EIO=2&", "EIO=5&", "EIO=abc&", "EIO=03&", "EIO=4.0&"]) {
    it(`with code 5: version ${JSON.stringify(version)}`, async () => {
      assertRefused(await request(server, `/socket.io/?${version}transport=polling`), 5);
    });
  }

  it("when a websocket is opened on an unknown sid", async () => {
    const answer = await new Promise((resolve) => {
      const socket = new WebSocket(`${server.url.replace("http", "ws")}${socketIo({ EIO: 4, transport: "websocket", sid: "tobi" })}`);
      socket.on("error", () => {});
      socket.on("unexpected-response", (_, response) => resolve(response));
    });
    assert.equal(answer.statusCode, 400);
    let body = "";
    for await (const chunk of answer) body += chunk;
    assert.match(body, /Session ID unknown/);
  });

  it("when a websocket asks for another version than 13", async () => {
    const headers = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "8", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==" };
    for (const path of [socketIo({ EIO: 4, transport: "websocket" }), "/peer-data"]) {
      const { status } = await request(server, path, { headers });
      assert.ok(status >= 400 && status < 500, `${path}: ${status}`);
    }
  });
});

describe("a body", () => {
  const announce = (path, length) =>
    speak(server, `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: ${length}\r\n\r\n`);

  for (const length of [1_000_001, 10_000_000_000, "9223372036854775807"]) {
    it(`announced as ${length} bytes is answered 413 at once`, async () => {
      const session = await Polling.connect(server, 4);
      const line = announce(session.path(), length);
      assert.match(await line.hears("\r\n\r\n"), /^HTTP\/1.1 413 /);
      line.socket.destroy();
    });
  }

  it("of exactly the maximum is taken", async () => {
    for (const revision of [3, 4]) {
      const session = await Polling.connect(server, revision);
      const start = '421["message","';
      const frame = revision === 3 ? "999993:".length : 0;
      const packet = `${start}${"x".repeat(1_000_000 - frame - start.length - 2)}"]`;
      const body = session.encode(packet);
      assert.equal(body.length, 1_000_000);
      assert.equal((await session.postBody(body)).body, "ok");
      assert.match((await session.get()).find((text) => text.startsWith("431")), /"malformed"/);
    }
  });

  it("in chunks over the maximum is not taken", async () => {
    const session = await Polling.connect(server, 4);
    const line = speak(server, `POST ${session.path()} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n`);
    const chunk = `40000\r\n${"x".repeat(0x40000)}\r\n`;
    for (let sent = 0; sent < 5; sent += 1) line.socket.write(chunk);
    const heard = await line.hears("\r\n\r\n").catch(() => "closed");
    assert.match(heard, /^HTTP\/1.1 413 |^closed$/);
    line.socket.destroy();
  });
});

describe("other origins", () => {
  it("are echoed with credentials on every answer", async () => {
    const headers = { Origin: ORIGIN };
    const session = await Polling.connect(server, 3);
    const answers = [
      await request(server, socketIo({ EIO: 3, transport: "polling" }), { headers }),
      await request(server, session.path(), { method: "POST", headers: { ...headers, "content-type": "text/plain" }, body: "1:2" }),
      await request(server, session.path(), { headers }),
      await request(server, socketIo({ EIO: 3, transport: "tobi" }), { headers }),
    ];
    for (const answer of answers) {
      assert.equal(answer.headers["access-control-allow-origin"], ORIGIN);
      assert.equal(answer.headers["access-control-allow-credentials"], "true");
    }
  });

  it("are preflighted anywhere under the path with 204", async () => {
    const session = await Polling.connect(server, 4);
    const headers = { Origin: ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type" };
    for (const path of ["/socket.io", "/socket.io/", "/socket.io/anything", socketIo({ EIO: 4, transport: "polling" }), session.path()]) {
      const answer = await request(server, path, { method: "OPTIONS", headers });
      assert.deepEqual([answer.status, answer.body], [204, ""], path);
      assert.equal(answer.headers["access-control-allow-origin"], ORIGIN);
      assert.equal(answer.headers["access-control-allow-credentials"], "true");
      assert.match(answer.headers["access-control-allow-headers"], /content-type/i);
    }
  });
});

describe("the plain JSON path", () => {
  it("answers a plain GET with 426 and a sentence", async () => {
    const { status, headers, body } = await request(server, "/peer-data");
    assert.equal(status, 426);
    assert.match(headers.upgrade ?? "", /websocket/i);
    assert.match(body, /\w+ \w+/);
  });

  it("greets with READY before anything else, extra parameters or not", async () => {
    for (const path of ["/peer-data", "/peer-data?x=1&EIO=9"]) {
      const socket = await Socket.open(server, path);
      const text = await socket.next();
      const { id } = JSON.parse(text).payload;
      assert.equal(text, `{"type":"READY","caller":null,"callee":null,"room":null,"payload":{"id":"${id}"}}`);
      socket.socket.close();
    }
  });
});

describe("JSONP, revision 3", () => {
  const path = (sid, j) => socketIo({ EIO: 3, transport: "polling", j, ...(sid && { sid }) });
  /** What a page would get by running the script. */
  function run(script, j) {
    const [, index, argument] = /^___eio\[(\d+)\]\((".*")\);$/s.exec(script);
    assert.equal(index, j);
    assert.ok(!/[\u2028\u2029]/.test(script));
    return JSON.parse(argument);
  }

  it("carries signals both ways", async () => {
    const { body } = await request(server, path(null, "0"));
    const payload = run(body, "0");
    const { sid } = JSON.parse(/\{.*?\}/.exec(payload)[0]);
    const partner = await RawSocketPeer.open(server, 4);
    await partner.connect("jsonp");

    const say = (packet) =>
      request(server, path(sid, "1"), {
        method: "POST",
        headers: { "content-type": "application/x-www-form-urlencoded" },
        body: new URLSearchParams({ d: `${packet.length}:${packet}`.replace(/(\\)?\\n/g, (all, twice) => (twice ? all : "\\\\n")) }).toString(),
      });
    assert.equal((await say('42["message",{"type":"CONNECT","room":{"id":"jsonp"}}]')).body, "ok");
    const { caller } = await partner.next();
    partner.send({ type: "OFFER", callee: { id: caller.id }, room: { id: "jsonp" }, payload: "a\u2028b\u2029\"\\ </script> é😀\n" });
    let heard = "";
    while (!heard.includes("OFFER")) heard = run((await request(server, path(sid, "12"))).body, "12");
    assert.match(heard, /"payload":"a\u2028b\u2029\\"\\\\ <\/script> é😀\\n"/);
    assert.equal((await say('42["message",{"type":"CHAT","room":{"id":"jsonp"},"payload":"line\\nline é"}]')).body, "ok");
    assert.equal((await partner.next()).payload, "line\nline é");
    partner.close();
  });
});
