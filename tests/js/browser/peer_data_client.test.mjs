// The unmodified npm client in real pages, with real peer connections, through the server.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { picture, startBrowser } from "../support/browser.mjs";
import { startNginx } from "../support/nginx.mjs";
import { hears, join, meets, talk } from "../support/pages.mjs";
import { startServer } from "../support/server.mjs";

const TRANSPORTS = [undefined, "polling", "websocket"];
const named = (transport) => transport ?? "polling, then websocket";

/** The page's own server. */
const start = (t) => startServer({ t, name: "peer_data_client" });

/** Two pages negotiate, talk and see each other; resolves with them. */
async function meetInPairs(browser, url, query) {
  const ann = await join(browser, url, query);
  const ben = await join(browser, url, query);
  await meets(ann, 1);
  await meets(ben, 1);
  await talk(ann, ben);
  return [ann, ben];
}

/** The paths of the requests to signaling that the page has made, with the transport of each. */
function requestsOf(page) {
  return page.evaluate(() =>
    performance
      .getEntriesByType("resource")
      .map(({ name }) => new URL(name))
      .filter(({ pathname }) => pathname.startsWith("/socket.io"))
      .map(({ origin, searchParams }) => `${origin} ${searchParams.get("transport")}`),
  );
}

for (const transport of TRANSPORTS) {
  const query = transport && { transport };
  describe(`peer-data by ${named(transport)}`, () => {
    it("opens a data channel both ways and carries video", async (t) => {
      const [browser, server] = [await startBrowser(t), await start(t)];
      const [ann, ben] = await meetInPairs(browser, server.url, query);
      if (!transport) await picture(ann, "peer_data_client");
      assert.deepEqual([ann.errors, ben.errors], [[], []]);
    });

    it("takes a third peer in, and lets one go by disconnect and one by a closed tab", async (t) => {
      const [browser, server] = [await startBrowser(t), await start(t)];
      const pages = [];
      for (let count = 0; count < 3; count += 1) {
        const page = await join(browser, server.url, query);
        pages.push(page);
        for (const other of pages) await meets(other, count);
      }
      const [ann, ben, cleo] = pages;
      await cleo.evaluate(() => window.sendToAll("hello, both"));
      await hears(ann, "hello, both");
      await hears(ben, "hello, both");

      await ben.evaluate(() => window.leave());
      await meets(ann, 1);
      await meets(cleo, 1);

      // A closed tab says nothing itself: the others know it from the server.
      await cleo.close();
      await meets(ann, 0);
      assert.deepEqual([ann.errors, ben.errors], [[], []]);
    });
  });
}

for (const door of ["axum_service", "actix_app"]) {
  describe(`peer-data with signaling by ${door}`, () => {
    it("of another origin, without a setting", async (t) => {
      const [browser, pages, signaling] = [await startBrowser(t), await start(t), await startServer({ t, name: door })];
      const [ann, ben] = await meetInPairs(browser, pages.url, { server: signaling.url });
      const requests = await requestsOf(ann);
      assert.ok(requests.includes(`${signaling.url} polling`), `no polling across origins: ${requests}`);
      assert.deepEqual(requests.filter((request) => !request.startsWith(signaling.url)), []);
      await ben.close();
      await meets(ann, 0);
      assert.deepEqual(ann.errors, []);
    });

    for (const transport of TRANSPORTS) {
      it(`behind nginx and TLS, by ${named(transport)}`, async (t) => {
        const [browser, pages, signaling] = [await startBrowser(t), await start(t), await startServer({ t, name: door })];
        const nginx = await startNginx({ t, signaling: signaling.port, application: pages.port });
        const [ann, ben] = await meetInPairs(browser, nginx.url, transport && { transport });
        if (transport === "polling") assert.ok((await requestsOf(ann)).every((request) => request === `${nginx.url} polling`));
        if (!transport) await picture(ann, `nginx-${door}`);
        await ben.close();
        await meets(ann, 0);
        assert.deepEqual(ann.errors, []);
      });
    }
  });
}
