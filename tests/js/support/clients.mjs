// One interface over every client: {id, connect(room), send(event), ask(event), next(predicate), close()}.

import { once } from "node:events";
import { createRequire } from "node:module";
import WebSocket from "ws";

import { Inbox, within } from "./inbox.mjs";

const require = createRequire(import.meta.url);

const SOCKET_IO = {
  "2.0": require("socket.io-client-2.0"),
  "2.5": require("socket.io-client-2.5"),
  "3.1": require("socket.io-client-3").io,
  "4.8": require("socket.io-client-4").io,
};

const TRANSPORTS = {
  polling: ["polling"],
  websocket: ["websocket"],
  upgrade: ["polling", "websocket"],
};

/** Every client in every way to connect: `{name, revision, open(url, options)}`; `raw` is Socket.IO's own socket. */
export const KINDS = [
  ...Object.keys(SOCKET_IO).flatMap((version) =>
    Object.keys(TRANSPORTS).map((transport) => ({
      name: `socket.io-client ${version} ${transport}`,
      revision: version < 3 ? 3 : 4,
      transport,
      open: (url, options) => SocketIoClient.open(url, version, transport, options),
      raw: (url, options) => SocketIoClient.socket(url, version, transport, options),
    })),
  ),
  {
    name: "plain JSON",
    revision: null,
    transport: "json",
    open: (url, options) => JsonClient.open(url, options),
  },
];

/** The kind of this name. */
export function kind(name) {
  const found = KINDS.find((kind) => kind.name === name);
  if (!found) throw new Error(`no such client: ${name}`);
  return found;
}

/** What both clients share: an inbox of events and the words of the protocol. */
class Client {
  constructor(name) {
    this.name = name;
    this.inbox = new Inbox(name);
    this.id = null;
  }

  /** Enters a room, takes up the own id, and resolves with the ids of those already there. */
  async connect(room) {
    const answer = await this.ask({ type: "CONNECT", caller: null, callee: null, room: { id: room }, payload: null });
    if (!answer.ok) throw new Error(`${this.name}: CONNECT was answered ${JSON.stringify(answer)}`);
    this.id = answer.id;
    return answer.peers;
  }

  leave(room) {
    this.send({ type: "DISCONNECT", caller: null, callee: null, room: { id: room }, payload: null });
  }

  /** The next event for which `predicate` is true. */
  next(predicate, what) {
    return this.inbox.next(predicate, what);
  }
}

class SocketIoClient extends Client {
  static socket(url, version, transport, options = {}) {
    return SOCKET_IO[version](url, {
      transports: TRANSPORTS[transport],
      forceNew: true,
      reconnection: false,
      rejectUnauthorized: false,
      timeout: 20_000,
      ...options,
    });
  }

  /** `settled: false` returns before the upgrade to websocket is over. */
  static async open(url, version, transport, { settled = true, options = {} } = {}) {
    const client = new SocketIoClient(`socket.io-client ${version} ${transport}`);
    client.socket = SocketIoClient.socket(url, version, transport, options);
    const upgraded = transport === "upgrade" && settled && client.#upgraded();
    client.socket.on("message", (event) => client.inbox.push(buffers(event)));
    client.closed = new Promise((resolve) => client.socket.on("disconnect", resolve));
    await within(
      new Promise((resolve, reject) => {
        client.socket.on("connect", resolve);
        client.socket.on("connect_error", reject);
      }),
      `${client.name}: connect`,
    );
    await upgraded;
    return client;
  }

  get engine() {
    return this.socket.io.engine;
  }

  /** The id that this client believes to be its own: its session id, before protocol 5. */
  get ownId() {
    return this.socket.id;
  }

  get transportName() {
    return this.engine.transport.name;
  }

  #upgraded() {
    const upgraded = new Promise((resolve) => this.engine.once("upgrade", resolve));
    return within(upgraded, `${this.name}: upgrade`);
  }

  send(event) {
    this.socket.emit("message", event);
  }

  /** Sends an event and resolves with its ack. */
  ask(event) {
    const acked = new Promise((resolve) => this.socket.emit("message", event, resolve));
    return within(acked, `${this.name}: ack of ${event.type}`);
  }

  close() {
    this.socket.close();
  }
}

class JsonClient extends Client {
  static async open(url, { path = "/peer-data" } = {}) {
    const client = new JsonClient("plain JSON");
    const socket = new WebSocket(url.replace("http", "ws") + path, { rejectUnauthorized: false });
    client.socket = socket;
    client.closed = once(socket, "close").then(([code]) => code);
    client.texts = [];
    client.#listen();
    await within(once(socket, "open"), "plain JSON: open");
    client.ready = await client.next((event) => event.type === "READY", "READY");
    client.id = client.ready.payload.id;
    return client;
  }

  get ownId() {
    return this.id;
  }

  /** An event with placeholders is complete when a binary frame came for each of them. */
  #listen() {
    let [partial, missing] = [null, []];
    this.socket.on("message", (data, isBinary) => {
      if (isBinary) {
        const slot = missing.shift();
        slot.owner[slot.key] = data;
      } else {
        this.texts.push(data.toString());
        partial = JSON.parse(data.toString());
        missing = placeholders(partial);
      }
      if (missing.length === 0) this.inbox.push(partial);
    });
  }

  send(event) {
    this.sendText(JSON.stringify(event));
  }

  sendText(text) {
    this.socket.send(text);
  }

  /** This wire has no acks; but a callee that is nowhere is answered after the CONNECT was taken. */
  async connect(room) {
    this.send({ type: "CONNECT", caller: null, callee: null, room: { id: room }, payload: null });
    this.send({ type: "OFFER", caller: null, callee: { id: "nobody" }, room: { id: room }, payload: null });
    const answer = await this.next((event) => event.type === "ERROR", "an answer after CONNECT");
    if (answer.payload.code !== "no_such_peer") {
      throw new Error(`plain JSON: CONNECT was answered ${JSON.stringify(answer)}`);
    }
  }

  close() {
    this.socket.close();
  }
}

/** Where an event has placeholders, in the order of its text. */
function placeholders(value, found = []) {
  for (const [key, inner] of Object.entries(value ?? {})) {
    if (typeof inner !== "object" || inner === null) continue;
    if (inner._placeholder) found.push({ owner: value, key });
    else placeholders(inner, found);
  }
  return found;
}

/** Clients differ in the type of what they hand out for binary: make each a Buffer. */
function buffers(value) {
  if (value instanceof ArrayBuffer) return Buffer.from(value);
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (Array.isArray(value)) return value.map(buffers);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, buffers(inner)]));
}
