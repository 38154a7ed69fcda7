// Peers that speak packets, so that a test can say what no client library would.
//
// Each has {id, session, sendPacket(text), nextPacket(predicate), say(text), next(predicate), closed}.

import { once } from "node:events";
import WebSocket from "ws";

import { open, request, settled, socketIo } from "./http.mjs";
import { Inbox, within } from "./inbox.mjs";

const SEPARATOR = "\x1e";

/** How each revision of Engine.IO writes packets into the body of a poll. */
const PAYLOADS = {
  3: {
    encode: (packets) => packets.map((packet) => `${packet.length}:${packet}`).join(""),
    decode: (body) => {
      const packets = [];
      for (let rest = body; rest !== ""; ) {
        const [, digits] = /^(\d+):/.exec(rest) ?? fail(`not a payload: ${body}`);
        const start = digits.length + 1;
        packets.push(rest.slice(start, start + Number(digits)));
        rest = rest.slice(start + Number(digits));
      }
      return packets;
    },
  },
  4: {
    encode: (packets) => packets.join(SEPARATOR),
    decode: (body) => body.split(SEPARATOR),
  },
};

/** A long-polling session, one request at a time by hand. */
export class Polling {
  static async open(server, revision, query = {}) {
    const session = new Polling(server, revision);
    const [opening, ...more] = session.decode(
      (await request(server, socketIo({ EIO: revision, transport: "polling", ...query }))).body,
    );
    session.handshake = JSON.parse(opening.slice(1));
    session.sid = session.handshake.sid;
    session.early = more;
    return session;
  }

  /** Opens a session and enters the default namespace. */
  static async connect(server, revision) {
    const session = await Polling.open(server, revision);
    if (revision === 4) await session.post("40");
    if (session.early.length === 0) await session.get();
    return session;
  }

  constructor(server, revision) {
    this.server = server;
    this.revision = revision;
  }

  path(query = {}) {
    return socketIo({ EIO: this.revision, transport: "polling", sid: this.sid, ...query });
  }

  encode(...packets) {
    return PAYLOADS[this.revision].encode(packets);
  }

  decode(body) {
    return PAYLOADS[this.revision].decode(body);
  }

  /** The answer to one poll. */
  poll() {
    return request(this.server, this.path());
  }

  /** The packets of one poll. */
  async get() {
    const { status, body } = await this.poll();
    if (status !== 200) fail(`poll was answered ${status} ${body}`);
    return this.decode(body);
  }

  /** A poll that can be cut off. */
  openPoll() {
    return open(this.server, this.path());
  }

  post(...packets) {
    return this.postBody(this.encode(...packets));
  }

  postBody(body, headers = { "content-type": "text/plain;charset=UTF-8" }) {
    return request(this.server, this.path(), { method: "POST", headers, body });
  }
}

/** A websocket and every frame that arrives on it. */
export class Socket {
  constructor(server, path, options = {}) {
    this.socket = new WebSocket(server.url.replace("http", "ws") + path, { rejectUnauthorized: false, ...options });
    this.frames = new Inbox(path);
    this.socket.on("message", (data, isBinary) => this.frames.push(isBinary ? data : data.toString()));
    this.socket.on("error", (error) => (this.error = error));
    this.opened = once(this.socket, "open");
    this.opened.catch(() => {});
    this.closes = once(this.socket, "close").then(([code, reason]) => ({ code, reason: reason.toString() }));
  }

  static async open(server, path, options) {
    const socket = new Socket(server, path, options);
    await within(socket.opened, `websocket at ${path}`);
    return socket;
  }

  send(data, options) {
    this.socket.send(data, options);
  }

  next(predicate, what) {
    return this.frames.next(predicate, what);
  }

  /** How the server closed it: `{code, reason}`. */
  get closed() {
    return within(this.closes, "the websocket to close");
  }
}

/** What the peers below have in common: events as text, and the inbox for them. */
class RawPeer {
  constructor(name) {
    this.name = name;
    this.packets = new Inbox(name);
    this.events = new Inbox(name);
  }

  /** Sorts a packet into events and everything else. */
  hear(packet) {
    const event = /^42\["message",(.*)\]$/s.exec(packet);
    if (event) this.events.push({ text: event[1], ...JSON.parse(event[1]) });
    else this.packets.push(packet);
  }

  /** Sends an event, given as JSON text. */
  say(text) {
    this.sendPacket(`42["message",${text}]`);
  }

  send(event) {
    this.say(JSON.stringify(event));
  }

  /** Sends an event and resolves with its ack. */
  async ask(event, ackId = 7) {
    this.sendPacket(`42${ackId}["message",${typeof event === "string" ? event : JSON.stringify(event)}]`);
    const prefix = `43${ackId}`;
    const ack = await this.packets.next((packet) => String(packet).startsWith(prefix), `ack ${ackId}`);
    return JSON.parse(ack.slice(prefix.length))[0];
  }

  async connect(room) {
    const ack = await this.ask({ type: "CONNECT", room: { id: room } });
    if (!ack.ok) fail(`${this.name}: CONNECT was answered ${JSON.stringify(ack)}`);
    this.id = ack.id;
    return ack.peers;
  }

  next(predicate, what) {
    return this.events.next(predicate, what);
  }

  nextPacket(predicate, what) {
    return this.packets.next(predicate, what);
  }
}

/** Socket.IO packets in websocket frames. */
export class RawSocketPeer extends RawPeer {
  static async open(server, revision, query = {}) {
    const peer = new RawSocketPeer(`raw websocket, revision ${revision}`);
    peer.socket = new Socket(server, socketIo({ EIO: revision, transport: "websocket", ...query }));
    peer.socket.frames.push = (frame) => {
      if (typeof frame === "string" && frame.startsWith("4")) peer.hear(frame);
      else if (frame === "2") peer.socket.send("3");
      else peer.packets.push(frame);
    };
    await within(peer.socket.opened, peer.name);
    const opening = await peer.nextPacket((packet) => packet[0] === "0", "open packet");
    peer.handshake = JSON.parse(opening.slice(1));
    peer.session = peer.handshake.sid;
    if (revision === 4) peer.sendPacket("40");
    await peer.nextPacket((packet) => packet.startsWith("40"), "connect packet");
    return peer;
  }

  sendPacket(packet) {
    this.socket.send(packet);
  }

  get closed() {
    return this.socket.closed;
  }

  close() {
    this.socket.socket.close();
  }

  cut() {
    this.socket.socket.terminate();
  }
}

/** Socket.IO packets in the bodies of polls, with a poll always waiting. */
export class RawPollingPeer extends RawPeer {
  static async open(server, revision) {
    const peer = new RawPollingPeer(`raw polling, revision ${revision}`);
    peer.polling = await Polling.connect(server, revision);
    peer.session = peer.polling.sid;
    peer.posts = Promise.resolve();
    peer.ended = peer.#pollOn();
    return peer;
  }

  async #pollOn() {
    for (;;) {
      this.waiting = this.polling.openPoll();
      if (this.cutting) await this.#cutWaiting();
      const answer = await this.waiting.answer.catch((error) => ({ status: error.code }));
      if (answer.status !== 200) return answer;
      for (const packet of this.polling.decode(answer.body)) {
        if (packet === "2") this.sendPacket("3");
        else this.hear(packet);
      }
    }
  }

  sendPacket(packet) {
    this.posts = this.posts.then(() => this.polling.post(packet));
  }

  /** The answer that ended the polling. */
  get closed() {
    return within(this.ended, `${this.name} to end`);
  }

  close() {
    this.sendPacket("1");
    this.posts.catch(() => {}); // The server may be gone before it has answered.
  }

  /** Cuts the waiting poll, or the next one if it was answered just now. */
  async cut() {
    this.cutting = true;
    await this.#cutWaiting();
  }

  // A poll that arrives meanwhile is cut by the call of its own.
  async #cutWaiting() {
    const { waiting } = this;
    await waiting.left;
    await settled(this.polling.server);
    await waiting.cut();
  }
}

/** Events as they stand, in text frames. */
export class RawJsonPeer extends RawPeer {
  static async open(server, path = "/peer-data") {
    const peer = new RawJsonPeer("raw plain JSON");
    peer.socket = new Socket(server, path);
    peer.socket.frames.push = (frame) => {
      if (typeof frame === "string") peer.events.push({ text: frame, ...JSON.parse(frame) });
      else peer.packets.push(frame);
    };
    await within(peer.socket.opened, peer.name);
    peer.id = (await peer.next((event) => event.type === "READY", "READY")).payload.id;
    return peer;
  }

  say(text) {
    this.socket.send(text);
  }

  /** There is no ack on this wire: an unknown callee is answered once the CONNECT was taken. */
  async connect(room) {
    this.send({ type: "CONNECT", room: { id: room } });
    this.send({ type: "OFFER", callee: { id: "nobody" }, room: { id: room } });
    const { payload } = await this.next((event) => event.type === "ERROR", "an answer after CONNECT");
    if (payload.code !== "no_such_peer") fail(`${this.name}: CONNECT was answered ${payload.code}`);
  }

  get closed() {
    return this.socket.closed;
  }

  close() {
    this.socket.socket.terminate();
  }
}

/** Every way to say raw things: `{name, acks, open(server)}`. */
export const MOUTHS = [
  { name: "revision 3 by websocket", acks: true, open: (server) => RawSocketPeer.open(server, 3) },
  { name: "revision 4 by websocket", acks: true, open: (server) => RawSocketPeer.open(server, 4) },
  { name: "revision 3 by polling", acks: true, open: (server) => RawPollingPeer.open(server, 3) },
  { name: "revision 4 by polling", acks: true, open: (server) => RawPollingPeer.open(server, 4) },
  { name: "plain JSON", acks: false, open: (server) => RawJsonPeer.open(server) },
];

/** Two peers in a room of their own, who notice when the server falls silent or loses something. */
export class Bystanders {
  static async open(server) {
    const pair = new Bystanders();
    pair.left = await RawSocketPeer.open(server, 4);
    pair.right = await RawPollingPeer.open(server, 4);
    await pair.left.connect("bystanders");
    await pair.right.connect("bystanders");
    await pair.left.next((event) => event.type === "CONNECT", "the other bystander");
    pair.round = 0;
    return pair;
  }

  /** Each hears the other once more, and nothing besides. */
  async talk() {
    this.round += 1;
    for (const [from, to] of [[this.left, this.right], [this.right, this.left]]) {
      from.send({ type: "OFFER", callee: { id: to.id }, room: { id: "bystanders" }, payload: this.round });
      const heard = await to.next(() => true, `round ${this.round} from the other bystander`);
      if (heard.type !== "OFFER" || heard.caller.id !== from.id || heard.payload !== this.round) {
        fail(`a bystander heard ${heard.text} in round ${this.round}`);
      }
    }
  }

  close() {
    this.left.close();
    this.right.close();
  }
}

function fail(message) {
  throw new Error(message);
}
