// Events of the protocol, and what a server must answer.

import assert from "node:assert/strict";

/** An event from `type` and the ids of its callee and its room. */
export function event(type, { to = null, room, payload = null } = {}) {
  return { type, caller: null, callee: to && { id: to }, room: { id: room }, payload };
}

/** What the others hear when a peer is gone. */
export function departure(id, room) {
  return { type: "DISCONNECT", caller: { id }, callee: null, room: { id: room }, payload: null };
}

/** Asserts an `ERROR` signal with one of `codes`; `room` is the id of the room it names, or null. */
export function assertError(answer, codes, room) {
  assert.equal(answer.type, "ERROR");
  assert.equal(answer.caller, null);
  assert.equal(answer.callee, null);
  if (room !== undefined) assert.deepEqual(answer.room, room === null ? null : { id: room });
  assert.ok([codes].flat().includes(answer.payload.code), `code ${answer.payload.code}, expected ${codes}`);
  assert.equal(typeof answer.payload.message, "string");
  assert.notEqual(answer.payload.message, "");
}

/** Asserts a failed ack with this code. */
export function assertRefusal(ack, code) {
  assert.deepEqual(Object.keys(ack).sort(), ["code", "message", "ok"]);
  assert.equal(ack.ok, false);
  assert.equal(ack.code, code);
  assert.equal(typeof ack.message, "string");
}
