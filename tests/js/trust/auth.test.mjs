// The example `auth` and the real clients: who is let in, and what is told to who is not.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import WebSocket from "ws";

import { KINDS } from "../support/clients.mjs";
import { within } from "../support/inbox.mjs";
import { startServer } from "../support/server.mjs";

const start = (t) => startServer({ t, name: "auth" });

async function token(server, name, invited = "") {
  const body = new URLSearchParams({ name, invited });
  const answer = await fetch(`${server.url}/login`, { method: "POST", body });
  assert.equal(answer.status, 200);
  return answer.text();
}

/** How a socket.io-client shows who it is: by `auth`, or by the query where there is no such thing. */
const credentials = (kind, token) => (kind.revision === 3 ? { query: { token } } : { auth: { token } });

function open(kind, server, token) {
  if (kind.transport === "json") return kind.open(server.url, { path: `/peer-data?token=${token}` });
  return kind.open(server.url, { options: credentials(kind, token) });
}

/** What a socket.io-client is told that is not let in: an `error`, or in later versions a `connect_error`. */
function refusal(kind, server, token) {
  const told = kind.revision === 3 ? "error" : "connect_error";
  const socket = kind.raw(server.url, credentials(kind, token));
  const refused = new Promise((resolve, reject) => {
    socket.on(told, resolve);
    socket.on("connect", () => reject(new Error("it is let in")));
  });
  return within(refused, `${kind.name}: ${told}`).finally(() => socket.close());
}

const SOCKET_IO = KINDS.filter((kind) => kind.revision !== null);

describe("auth", () => {
  for (const kind of KINDS) {
    it(`${kind.name}: a good token opens the lobby and the room of its invitation`, async (t) => {
      const server = await start(t);
      const ann = await open(kind, server, await token(server, "Ann", "kitchen"));
      t.after(() => ann.close());
      assert.equal((await ann.next((event) => event.type === "WELCOME")).payload, "Ann");
      await ann.connect("lobby");
      await ann.connect("kitchen");

      // A guest on another wire meets her where he may, and hears why he may not elsewhere.
      const ben = await open(KINDS.at(-1), server, await token(server, "Ben"));
      t.after(() => ben.close());
      await ben.connect("lobby");
      assert.equal((await ann.next((event) => event.type === "CONNECT")).caller.id, ben.id);
      ben.send({ type: "CONNECT", caller: null, callee: null, room: { id: "kitchen" }, payload: null });
      const refused = await ben.next((event) => event.type === "ERROR");
      assert.deepEqual(refused.payload, { code: "refused", message: "you are not invited to that room" });
      assert.equal(refused.room.id, "kitchen");
      ben.send({ type: "CHAT", caller: null, callee: null, room: { id: "lobby" }, payload: "still here" });
      assert.equal((await ann.next((event) => event.type === "CHAT")).payload, "still here");
    });
  }

  for (const kind of SOCKET_IO) {
    it(`${kind.name}: hears why it is not let in`, async (t) => {
      const server = await start(t);
      for (const bad of ["", "forged", `${await token(server, "Ann")}x`]) {
        const error = await refusal(kind, server, bad);
        const message = bad === "" ? "a token is needed" : "log in first: that token is not valid";
        if (kind.revision === 3) {
          assert.equal(error, message);
        } else {
          assert.equal(error.message, message);
          assert.deepEqual(error.data, { code: "unauthorized" });
        }
      }
    });
  }

  it("plain JSON: a program reads a status, a page a close code", async (t) => {
    const server = await start(t);
    const url = `${server.url.replace("http", "ws")}/peer-data`;
    const program = new WebSocket(url, ["peer-data", "bearer.forged"]);
    const status = await within(new Promise((resolve) => program.on("unexpected-response", (_, answer) => resolve(answer.statusCode))), "a status");
    assert.equal(status, 401);
    program.on("error", () => {}).terminate();
    const page = new WebSocket(url, ["peer-data", "bearer.forged"], { origin: "https://page.test" });
    const [code, reason] = await within(new Promise((resolve) => page.on("close", (...end) => resolve(end))), "a close");
    assert.deepEqual([code, reason.toString()], [4401, "log in first: that token is not valid"]);
    const good = new WebSocket(url, ["peer-data", `bearer.${await token(server, "Ann")}`], { origin: "https://page.test" });
    const ready = await within(new Promise((resolve) => good.on("message", (data) => resolve(JSON.parse(data)))), "READY");
    assert.equal(ready.type, "READY");
    assert.equal(good.protocol, "peer-data");
    good.close();
  });
});
