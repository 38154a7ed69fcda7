// Two pages whose signaling is at different nodes.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { startBrowser } from "../support/browser.mjs";
import { startCluster } from "../support/cluster.mjs";
import { join, meets, talk } from "../support/pages.mjs";
import { startServer } from "../support/server.mjs";

describe("peer-data at different nodes", () => {
  for (const bus of ["nats", "redis"]) {
    it(`of ${bus}: pages meet, talk and part`, async (t) => {
      const [browser, pages] = [await startBrowser(t), await startServer({ t, name: "peer_data_client" })];
      const cluster = await startCluster(bus, { t });
      const [ann, ben] = [
        await join(browser, pages.url, { server: cluster.nodes[0].url }),
        await join(browser, pages.url, { server: cluster.nodes[1].url }),
      ];
      await meets(ann, 1);
      await meets(ben, 1);
      await talk(ann, ben);
      await ben.close();
      await meets(ann, 0);
      assert.deepEqual(ann.errors, []);
    });
  }
});
