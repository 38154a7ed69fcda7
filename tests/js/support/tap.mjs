// Listens on a bus to all that nodes say to each other, in the bus's own protocol.

import { once } from "node:events";
import net from "node:net";

/** Of each message its subject: `{counts(), subscribers(subject), close()}`. */
export async function tap(bus) {
  const wire = await (bus.name === "redis" ? RedisWire : NatsWire).open(bus.port);
  return new Tap(bus, wire);
}

class Tap {
  constructor(bus, wire) {
    this.bus = bus;
    this.wire = wire;
  }

  /**
   * What was published since the last call, by what it is for: the words of all nodes, each node's own, and rooms.
   * Whatever was published before this call is in it.
   */
  async counts() {
    const fence = `peer-data.fence.${Math.random()}`;
    await this.wire.publish(fence);
    while (!this.wire.subjects.includes(fence)) await this.wire.more();
    const subjects = this.wire.subjects.splice(0, this.wire.subjects.indexOf(fence) + 1);
    const of = (part) => subjects.filter((subject) => subject.startsWith(`peer-data.${part}`));
    return { all: of("all").length, nodes: of("n."), rooms: of("r.") };
  }

  close() {
    this.wire.socket.destroy();
  }
}

class Wire {
  subjects = [];
  buffer = Buffer.alloc(0);

  static async open(port) {
    const wire = new this();
    wire.socket = net.connect(port, "127.0.0.1");
    wire.socket.setNoDelay(true);
    await once(wire.socket, "connect");
    wire.socket.on("data", (chunk) => {
      wire.buffer = Buffer.concat([wire.buffer, chunk]);
      wire.read();
      wire.waiting?.();
    });
    await wire.subscribe();
    return wire;
  }

  more() {
    return new Promise((resolve) => (this.waiting = resolve));
  }

  /** The next line, without its end; undefined if it has not come as a whole. */
  line(at = 0) {
    const end = this.buffer.indexOf("\r\n", at);
    return end < 0 ? undefined : { text: this.buffer.toString("latin1", at, end), next: end + 2 };
  }
}

/** https://docs.nats.io/reference/reference-protocols/nats-protocol */
class NatsWire extends Wire {
  async subscribe() {
    this.socket.write('CONNECT {"verbose":false}\r\nSUB peer-data.> 1\r\nPING\r\n');
    while (!this.ready) await this.more();
  }

  async publish(subject) {
    this.socket.write(`PUB ${subject} 0\r\n\r\n`);
  }

  read() {
    for (let line = this.line(); line; line = this.line()) {
      const [verb, subject, ...rest] = line.text.split(" ");
      if (verb === "MSG") {
        const end = line.next + Number(rest.at(-1)) + 2;
        if (this.buffer.length < end) return;
        this.subjects.push(subject);
        this.buffer = this.buffer.subarray(end);
        continue;
      }
      if (verb === "PING") this.socket.write("PONG\r\n");
      if (verb === "PONG") this.ready = true;
      this.buffer = this.buffer.subarray(line.next);
    }
  }
}

/** https://redis.io/docs/latest/develop/reference/protocol-spec/ (RESP2: each message an array of bulk strings) */
class RedisWire extends Wire {
  async subscribe() {
    this.socket.write("PSUBSCRIBE peer-data*\r\n");
    while (!this.ready) await this.more();
  }

  /** By a connection of its own: this one does nothing but listen. */
  async publish(subject) {
    this.speaker ??= net.connect(this.socket.remotePort, "127.0.0.1");
    this.speaker.resume();
    this.speaker.write(`PUBLISH ${subject} x\r\n`);
    this.socket.once("close", () => this.speaker.destroy());
  }

  read() {
    for (;;) {
      const head = this.line();
      if (!head) return;
      const parts = [];
      let at = head.next;
      for (let count = Number(head.text.slice(1)); parts.length < count; ) {
        const size = this.line(at);
        if (!size) return;
        at = size.next;
        if (size.text.startsWith("$")) {
          const length = Number(size.text.slice(1));
          if (this.buffer.length < at + length + 2) return;
          parts.push(this.buffer.toString("latin1", at, at + length));
          at += length + 2;
        } else {
          parts.push(size.text);
        }
      }
      if (parts[0] === "psubscribe") this.ready = true;
      if (parts[0] === "pmessage") this.subjects.push(parts[2]);
      this.buffer = this.buffer.subarray(at);
    }
  }
}
