// Peers of one room at three nodes: who they are connected to makes no difference to them.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { cable } from "../support/cable.mjs";
import { KINDS, kind } from "../support/clients.mjs";
import { startCluster } from "../support/cluster.mjs";
import { departure, event } from "../support/events.mjs";
import { startNginx } from "../support/nginx.mjs";
import { tap } from "../support/tap.mjs";

const BUS = process.env.SUITE === "cluster_redis" ? "redis" : "nats";

const without = (peers, one) => peers.filter((other) => other !== one);
const json = kind("plain JSON");

/** Everybody has had all that was said before: a last word of each has come to all others. */
async function heardBy(peers, room) {
  for (const sender of peers) {
    sender.send(event("LAST", { room }));
    for (const receiver of without(peers, sender)) await receiver.next((e) => e.type === "LAST" && e.caller.id === sender.id);
  }
}

/** Everybody says a last word to everybody: all of it must come, and nothing else before it. */
async function nothingMore(peers, room, label) {
  for (const sender of peers) {
    for (const receiver of without(peers, sender)) {
      sender.send(event("CANDIDATE", { to: receiver.id, room, payload: label }));
    }
  }
  for (const peer of peers) {
    const heard = await peer.inbox.take(peers.length - 1, (e) => e.payload === label);
    assert.deepEqual(heard.map((e) => e.caller.id).sort(), without(peers, peer).map((other) => other.id).sort(), peer.name);
    assert.deepEqual(peer.inbox.drain(), [], `${peer.name} heard more than it should: ${label}`);
  }
}

/** All enter the room, one after the other; each is told once of everybody else. */
async function enter(peers, room) {
  for (const [at, peer] of peers.entries()) {
    const earlier = peers.slice(0, at);
    const named = (await peer.connect(room)) ?? earlier.map(({ id }) => id);
    for (const other of earlier) {
      assert.deepEqual(await other.next(), { ...event("CONNECT", { room }), caller: { id: peer.id } }, other.name);
    }
    // An ack waits for other nodes as long as a user would; whom it does not name is announced.
    const unnamed = earlier.map(({ id }) => id).filter((id) => !named.includes(id));
    assert.equal(named.length + unnamed.length, at, `${peer.name} was told of strangers`);
    const told = await peer.inbox.take(unnamed.length, (e) => e.type === "CONNECT");
    assert.deepEqual(told.map((e) => e.caller.id).sort(), unnamed.sort(), peer.name);
  }
  await nothingMore(peers, room, "after joining");
}

/** What every room of peers must do, wherever `open` connects them. */
function meeting(what, room, open) {
  describe(what, () => {
    const peers = [];
    before(async () => peers.push(...(await open())));
    after(() => peers.forEach((peer) => peer.close()));

    it("are told of each other", () => enter(peers, room));

    it("have their signals in order, each once", async () => {
      const types = ["OFFER", "CANDIDATE", "CANDIDATE", "ANSWER", "CANDIDATE"];
      for (const sender of peers) {
        for (const receiver of without(peers, sender)) {
          for (const [number, type] of types.entries()) sender.send(event(type, { to: receiver.id, room, payload: { number } }));
        }
      }
      for (const receiver of peers) {
        for (const sender of without(peers, receiver)) {
          const heard = await receiver.inbox.take(types.length, (e) => e.caller.id === sender.id);
          const sent = types.map((type, number) => ({ ...event(type, { to: receiver.id, room, payload: { number } }), caller: { id: sender.id } }));
          assert.deepEqual(heard, sent, `${sender.name} to ${receiver.name}`);
        }
      }
      await nothingMore(peers, room, "after the signals");
    });

    it("carry 100 KB, and more than goes over the bus in one piece", async () => {
      for (const size of [100_000, 400_000]) {
        const payload = "long 😀".repeat(size).slice(0, size);
        for (const [at, sender] of peers.entries()) {
          const receiver = peers[(at + 1) % peers.length];
          sender.send(event("OFFER", { to: receiver.id, room, payload }));
          const heard = await receiver.next((e) => e.caller.id === sender.id);
          assert.ok(heard.payload === payload, `${sender.name} to ${receiver.name}: not what was sent`);
        }
      }
    });

    it("carry binary", async () => {
      const binary = peers.filter((peer) => peer.name !== "plain JSON");
      for (const [at, sender] of binary.entries()) {
        const receiver = binary[(at + 1) % binary.length];
        sender.send(event("OFFER", { to: receiver.id, room, payload: Buffer.from([0, 1, 255]) }));
        assert.deepEqual((await receiver.next()).payload, Buffer.from([0, 1, 255]), `${sender.name} to ${receiver.name}`);
      }
    });

    it("give every other type to the rest of the room", async () => {
      for (const sender of peers) {
        sender.send(event("CHAT", { room, payload: sender.name }));
        for (const receiver of without(peers, sender)) {
          assert.deepEqual(await receiver.next(), { ...event("CHAT", { room, payload: sender.name }), caller: { id: sender.id } });
        }
      }
    });

    it("get the same refusal for a peer that is nowhere, or not in the room", async (t) => {
      const stranger = await open.stranger();
      t.after(() => stranger.close());
      await stranger.connect(`${room}, next door`);
      for (const sender of [peers[0], peers.at(-1)]) {
        for (const to of [stranger.id, "nobody"]) {
          sender.send(event("OFFER", { to, room }));
          const { payload } = await sender.next((e) => e.type === "ERROR");
          assert.equal(payload.code, "no_such_peer");
        }
      }
      assert.deepEqual(stranger.inbox.drain(), []);
    });

    it("hear once of each who goes", async () => {
      for (const leaver of [peers.shift(), peers.pop()]) {
        leaver.close();
        for (const peer of peers) assert.deepEqual(await peer.next(), departure(leaver.id, room));
      }
      await nothingMore(peers, room, "after the departures");
    });
  });
}

describe(`three nodes on ${BUS}`, () => {
  let cluster;
  let nginx;
  before(async () => {
    cluster = await startCluster(BUS);
    nginx = await startNginx({ signaling: cluster.nodes.map(({ port }) => port) });
  });
  after(async () => {
    await nginx?.stop();
    await cluster.stop();
  });

  const spread = async () => {
    const peers = [];
    // Four kinds of each transport: 3 does not divide it, so each kind is at another node.
    for (const [at, { open }] of KINDS.entries()) peers.push(await open(cluster.nodes[at % 3].url));
    return peers;
  };
  spread.stranger = () => json.open(cluster.nodes[1].url);
  meeting("every client, spread over the nodes", "spread 😀", spread);

  // Each request of a client at another node: upgrades may fail, and the client goes on polling.
  const anywhere = async () => {
    const peers = [];
    for (const { open } of KINDS) peers.push(await open(nginx.url, { settled: false }));
    return peers;
  };
  anywhere.stranger = () => json.open(nginx.url);
  meeting("every client, behind a proxy that asks one node after the other", "anywhere > *", anywhere);
});

/** Two peers at each node, in one room. */
async function call(cluster, room) {
  const peers = [];
  for (const [at, node] of [...cluster.nodes, ...cluster.nodes].entries()) {
    const peer = await kind(at % 2 === 0 ? "socket.io-client 4.8 websocket" : "plain JSON").open(node.url);
    peers.push(Object.assign(peer, { node }));
  }
  await enter(peers, room);
  return peers;
}

describe(`what happens to a call on ${BUS}`, () => {
  const ends = [
    // A node is dead after 15 seconds of silence; more would be a defect, apart from a slow machine.
    ["SIGKILL", 25_000],
    // One that says goodbye is not waited for: silence takes 10 seconds at least.
    ["SIGTERM", 9_000],
  ];
  for (const [signal, most] of ends) {
    it(`when a node ends by ${signal}: the others hear of each of its peers, once`, async (t) => {
      const cluster = await startCluster(BUS, { t });
      const peers = await call(cluster, signal);
      const node = cluster.nodes[1];
      const gone = peers.filter((peer) => peer.node === node);
      const left = peers.filter((peer) => peer.node !== node);
      await cluster.end(node, signal);
      const since = Date.now();
      for (const peer of left) {
        const told = await peer.inbox.take(gone.length, (e) => e.type === "DISCONNECT");
        assert.deepEqual(told.map((e) => e.caller.id).sort(), gone.map(({ id }) => id).sort(), peer.name);
      }
      const took = Date.now() - since;
      t.diagnostic(`noticed after ${took} ms`);
      assert.ok(took < most, `it took ${took} ms`);
      await nothingMore(left, signal, "after the end of a node");

      // Who was there comes back to another node, and is new there.
      const back = await json.open(left[0].node.url);
      await back.connect(signal);
      for (const peer of left) assert.equal((await peer.next((e) => e.type === "CONNECT")).caller.id, back.id);
      await nothingMore([...left, back], signal, "with one who is back");
      for (const peer of [...left, back]) peer.close();
    });
  }

  it("when the bus is killed and restarted: each node goes on alone, then all know each other again", async (t) => {
    const room = "outage";
    const cluster = await startCluster(BUS, { t });
    const peers = await call(cluster, room);
    await cluster.bus.kill();

    // To a peer of another node nothing goes, and whoever tries is told.
    const [ann] = peers;
    const far = peers.find((peer) => peer.node !== ann.node);
    const near = peers.find((peer) => peer !== ann && peer.node === ann.node);
    let refused;
    for (let number = 0; !refused; number += 1) {
      ann.send(event("OFFER", { to: far.id, room, payload: "lost" }));
      // What is said between the end of the bus and its notice is lost without a word.
      ann.send(event("OFFER", { to: near.id, room, payload: number }));
      await near.next((e) => e.payload === number);
      // Whatever she is told of both has come to her before this.
      near.send(event("OFFER", { to: ann.id, room, payload: number }));
      await ann.next((e) => e.payload === number);
      refused = ann.inbox.drain().find((e) => e.type === "ERROR");
    }
    assert.equal(refused.payload.code, "busy");

    // Meanwhile one goes and one comes, at different nodes.
    const leaver = peers.find((peer) => peer.node === cluster.nodes[1]);
    const beside = peers.find((peer) => peer !== leaver && peer.node === leaver.node);
    leaver.close();
    assert.deepEqual(await beside.next(), departure(leaver.id, room));
    const comer = Object.assign(await json.open(cluster.nodes[2].url), { node: cluster.nodes[2] });
    await comer.connect(room);

    await cluster.bus.restart();
    const left = without(peers, leaver);
    for (const peer of left) {
      const { caller } = await peer.next((e) => e.type === "CONNECT");
      assert.equal(caller.id, comer.id, peer.name);
      if (peer !== beside) assert.deepEqual(await peer.next((e) => e.type === "DISCONNECT"), departure(leaver.id, room), peer.name);
    }
    // It came while its node could not know that one had gone.
    assert.deepEqual(await comer.next(), departure(leaver.id, room));
    await nothingMore([...left, comer], room, "after the outage");
    for (const peer of [...left, comer]) peer.close();
  });

  it("when the bus comes after the nodes", async (t) => {
    const room = "early";
    const cluster = await startCluster(BUS, { t, count: 2 });
    await cluster.bus.kill();
    const late = await cluster.startNode();
    const alone = await json.open(late.url);
    await alone.connect(room);
    const other = await json.open(cluster.nodes[0].url);
    await other.connect(room);
    await cluster.bus.restart();
    // Both were there first, so at least one is told of the other, and nobody twice.
    for (const [from, to] of [[alone, other], [other, alone]]) {
      const asking = setInterval(() => from.send(event("CHAT", { room, payload: from.id })), 100);
      await to.next((e) => e.type === "CHAT").finally(() => clearInterval(asking));
    }
    await heardBy([alone, other], room);
    const told = [alone, other].flatMap((peer) => peer.inbox.drain().filter((e) => e.type === "CONNECT").map((e) => e.caller.id));
    assert.ok(told.length > 0, "neither was told of the other");
    assert.equal(new Set(told).size, told.length);
    await nothingMore([alone, other], room, "after the bus has come");
    alone.close();
    other.close();
  });

  it("when one node is parted from the others: both sides go on, and in the end all know the same", async (t) => {
    const room = "parted";
    const cluster = await startCluster(BUS, { t, count: 2 });
    const wire = await cable(cluster.bus);
    t.after(() => wire.close());
    const far = await cluster.startNode({ url: cluster.bus.url.replace(String(cluster.bus.port), new URL(wire.url).port) });
    await cluster.gathered();
    const peers = await call(cluster, room);
    const beyond = peers.filter((peer) => peer.node === far);
    const here = peers.filter((peer) => peer.node !== far);
    wire.part();

    // On each side one goes, and one comes; of the other side nobody hears until it counts as dead.
    const leavers = [beyond.pop(), here.pop()];
    for (const leaver of leavers) leaver.close();
    for (const peer of here) assert.deepEqual(await peer.next((e) => e.caller.id === leavers[1].id), departure(leavers[1].id, room));
    for (const peer of beyond) assert.deepEqual(await peer.next((e) => e.caller.id === leavers[0].id), departure(leavers[0].id, room));
    const comers = [];
    for (const node of [far, cluster.nodes[0]]) {
      const comer = Object.assign(await json.open(node.url), { node });
      await comer.connect(room);
      comers.push(comer);
    }
    const sides = [[...beyond, comers[0]], [...here, comers[1]]];
    // What is said on one side comes to all of that side.
    for (const side of sides) await heardBy(side, room);
    await wire.mend();

    // Healed: everybody knows everybody who is there, and has heard of each who went, and of nobody twice.
    const everybody = sides.flat();
    const known = new Map(everybody.map((peer) => [peer, new Map()]));
    const note = (peer, { type, caller }) => {
      if (type !== "CONNECT" && type !== "DISCONNECT") return;
      const told = known.get(peer);
      told.set(caller.id, [...(told.get(caller.id) ?? []), type]);
    };
    const asking = setInterval(() => everybody.forEach((peer) => peer.send(event("HERE", { room, payload: peer.id }))), 500);
    for (const peer of everybody) {
      const missing = new Set(without(everybody, peer).map(({ id }) => id));
      while (missing.size > 0) {
        const heard = await peer.next(undefined, `${peer.name} hears of ${[...missing]}`);
        if (heard.type === "HERE") missing.delete(heard.payload);
        note(peer, heard);
      }
    }
    clearInterval(asking);
    await heardBy(everybody, room);
    for (const peer of everybody) {
      for (const heard of peer.inbox.drain()) note(peer, heard);
      for (const [id, told] of known.get(peer)) {
        // Gone and back, or only gone, or only come: in turns, never the same twice.
        told.forEach((type, at) => assert.notEqual(type, told[at - 1], `${peer.name} of ${id}: ${told}`));
        const isThere = everybody.some((other) => other.id === id);
        assert.equal(told.at(-1), isThere ? "CONNECT" : "DISCONNECT", `${peer.name} of ${id}: ${told}`);
      }
      // Each who went on the other side, and each who came there, is known now.
      const [other] = sides.filter((side) => !side.includes(peer));
      const gone = leavers[other === sides[0] ? 0 : 1];
      assert.equal(known.get(peer).get(gone.id)?.at(-1), "DISCONNECT", `${peer.name} of ${gone.name}`);
      const come = other.at(-1);
      if (peer !== comers[0] && peer !== comers[1]) assert.equal(known.get(peer).get(come.id)?.at(-1), "CONNECT", `${peer.name} of ${come.name}`);
    }
    await nothingMore(everybody, room, "after it healed");
    everybody.forEach((peer) => peer.close());
  });
});

describe(`what goes over ${BUS}`, () => {
  let cluster;
  let line;
  /** Of the rooms before: who was there may still be about to leave. */
  const others = new Set();
  before(async () => {
    cluster = await startCluster(BUS);
    line = await tap(cluster.bus);
  });
  after(async () => {
    line.close();
    await cluster.stop();
  });

  it("is one message for a peer elsewhere, and one for a room, however large it is; none for those nearby", async () => {
    const room = "counted";
    const peers = await call(cluster, room);
    const [ann] = peers;
    const near = peers.find((peer) => peer !== ann && peer.node === ann.node);
    const far = peers.find((peer) => peer.node !== ann.node);
    const say = async (to, count) => {
      await line.counts();
      for (let number = 0; number < count; number += 1) {
        ann.send(event(to ? "CANDIDATE" : "CHAT", { to: to?.id, room, payload: number }));
      }
      for (const peer of to ? [to] : without(peers, ann)) await peer.inbox.take(count, ({ caller }) => caller.id === ann.id);
      const { nodes, rooms } = await line.counts();
      rooms.forEach((subject) => others.add(subject));
      return [nodes.length, rooms.length, new Set([...nodes, ...rooms]).size];
    };
    const costs = async (to, expected, what) => {
      let counted = await say(to, 50);
      // Now and then nodes compare who is in a room, which may fall into this moment; hardly twice.
      if (String(counted) !== String(expected)) counted = await say(to, 50);
      assert.deepEqual(counted, expected, what);
    };
    await costs(near, [0, 0, 0], "a neighbour");
    await costs(far, [50, 0, 1], "a peer elsewhere");
    await costs(null, [0, 50, 1], "a room of six at three nodes");
    const more = [];
    for (const node of cluster.nodes) {
      for (let count = 0; count < 5; count += 1) {
        const peer = await json.open(node.url);
        await peer.connect(room);
        more.push(peer);
      }
    }
    for (const peer of more) await heardBy([ann, peer], room);
    for (const peer of [...peers, ...more]) peer.inbox.drain();
    peers.push(...more);
    await costs(null, [0, 50, 1], "a room of 21 at three nodes");
    peers.forEach((peer) => peer.close());
  });

  it("is nothing for a room at one node alone but the beginning and the end of it", async () => {
    const room = "lonely";
    const [ann, ben] = [await json.open(cluster.nodes[0].url), await json.open(cluster.nodes[0].url)];
    await ann.connect(room);
    await ben.connect(room);
    await heardBy([ann, ben], room);
    ann.inbox.drain();
    const crossed = async () => {
      await line.counts();
      for (let number = 0; number < 50; number += 1) ann.send(event("CANDIDATE", { to: ben.id, room, payload: number }));
      await ben.inbox.take(50, ({ type }) => type === "CANDIDATE");
      const { nodes, rooms } = await line.counts();
      return [...nodes, ...rooms.filter((subject) => !others.has(subject))];
    };
    // What nodes say of the room's beginning comes to an end; what signals cost would come each time.
    let news = await crossed();
    for (let tries = 1; news.length > 0 && tries < 20; tries += 1) news = await crossed();
    assert.deepEqual(news, []);
    for (const peer of [ann, ben]) peer.close();
  });
});

describe(`two versions side by side on ${BUS}`, () => {
  it("meet, where the next can be read; and what cannot be read is dropped and counted", async (t) => {
    const cluster = await startCluster(BUS, { t, count: 2 });
    await cluster.startNode({ program: "later_node", env: { EDITION: "2,1" } });
    await cluster.gathered();
    const peers = await call(cluster, "versions");
    for (const sender of peers) {
      for (const receiver of without(peers, sender)) {
        sender.send(event("OFFER", { to: receiver.id, room: "versions", payload: sender.id }));
        assert.equal((await receiver.next()).payload, sender.id);
      }
    }
    await nothingMore(peers, "versions", "between versions");

    const unreadable = async ({ url }) => {
      const text = await (await fetch(`${url}/metrics`)).text();
      return Number(/peer_data_cluster_parcels_total\{outcome="unreadable"\} (\d+)/.exec(text)[1]);
    };
    const [old] = cluster.nodes;
    assert.equal(await unreadable(old), 0);
    // One that nobody can read is not heard, and disturbs nobody.
    const strange = await cluster.startNode({ program: "later_node", env: { EDITION: "3,3" } });
    while ((await unreadable(old)) === 0) await new Promise((resolve) => setTimeout(resolve, 50));
    const stranger = await json.open(strange.url);
    await stranger.connect("versions");
    await nothingMore(peers, "versions", "beside one that nobody can read");
    for (const peer of [...peers, stranger]) peer.close();
  });
});
