// Several standalone nodes on one bus.

import { KINDS } from "./clients.mjs";
import { startBus } from "./bus.mjs";
import { startServer } from "./server.mjs";

/** Starts nodes on a bus of their own, and waits until they know each other: `{bus, nodes, stop()}`. */
export async function startCluster(busName, { t, count = 3 } = {}) {
  const cluster = new Cluster(await startBus(busName));
  t?.after(() => cluster.stop());
  while (cluster.nodes.length < count) await cluster.startNode();
  await cluster.gathered();
  return cluster;
}

class Cluster {
  constructor(bus) {
    this.bus = bus;
    this.nodes = [];
  }

  /** `url`: where it finds the bus; `program`: which example it is. */
  async startNode({ url = this.bus.url, program = "standalone", env = {} } = {}) {
    const node = await startServer({ name: program, env: { PEER_DATA_CLUSTER: url, ...env } });
    this.nodes.push(node);
    return node;
  }

  /** Each node has shown to have the others: two who have missed each other both hear a CONNECT. */
  async gathered() {
    const json = KINDS.find(({ transport }) => transport === "json");
    const probes = [];
    for (const { url } of this.nodes) probes.push(await json.open(url));
    for (const probe of probes) probe.send({ type: "CONNECT", caller: null, callee: null, room: { id: "gathering" }, payload: null });
    for (const [at, probe] of probes.entries()) {
      for (const other of probes.filter((other) => other !== probe)) {
        // Whoever came first is told of the other; the other then hears from it.
        const sight = { type: "SIGHT", caller: null, callee: null, room: { id: "gathering" }, payload: at };
        const asking = setInterval(() => probe.send(sight), 100);
        await other.next((event) => event.type === "SIGHT" && event.payload === at, `word from node ${at}`).finally(() => clearInterval(asking));
      }
    }
    for (const probe of probes) probe.close();
    await Promise.all(probes.map((probe) => probe.closed));
  }

  /** One of them goes, by this signal. */
  async end(node, signal) {
    this.nodes = this.nodes.filter((other) => other !== node);
    return node.stop(signal);
  }

  async stop() {
    for (const node of this.nodes) await node.stop();
    await this.bus.kill();
  }
}
