// The unmodified npm client in real pages, with real peer connections, through the server.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { openPage, picture, startBrowser } from "../support/browser.mjs";
import { startServer } from "../support/server.mjs";

/** A page in the room, once its client has asked to join. */
async function join(browser, server, transport) {
  const query = new URLSearchParams({ room: "call", ...(transport && { transport }) });
  const page = await openPage(browser, `${server.url}/?${query}`);
  await page.evaluate(() => window.ready);
  return page;
}

/** Waits until the page has open channels and live video with `count` others, and no one else. */
async function meets(page, count) {
  const met = (count) =>
    window.peers.length === count &&
    window.peers.every(({ channelState, videoTracks }) => channelState === "open" && videoTracks > 0);
  await page.waitForFunction(met, count);
}

async function say(page, text) {
  await page.evaluate((text) => window.sendToAll(text), text);
}

async function hears(page, text) {
  await page.waitForFunction((text) => window.peers.some(({ received }) => received.includes(text)), text);
}

async function start(t) {
  return [await startBrowser(t), await startServer({ t, name: "peer_data_client" })];
}

for (const transport of [undefined, "polling", "websocket"]) {
  describe(`peer-data by ${transport ?? "polling, then websocket"}`, () => {
    it("opens a data channel both ways and carries video", async (t) => {
      const [browser, server] = await start(t);
      const ann = await join(browser, server, transport);
      const ben = await join(browser, server, transport);
      await meets(ann, 1);
      await meets(ben, 1);
      await say(ann, "from Ann");
      await hears(ben, "from Ann");
      await say(ben, "from Ben");
      await hears(ann, "from Ben");
      if (!transport) await picture(ann, "peer_data_client");
      assert.deepEqual([ann.errors, ben.errors], [[], []]);
    });

    it("takes a third peer in, and lets one go by disconnect and one by a closed tab", async (t) => {
      const [browser, server] = await start(t);
      const pages = [];
      for (let count = 0; count < 3; count += 1) {
        const page = await join(browser, server, transport);
        pages.push(page);
        for (const other of pages) await meets(other, count);
      }
      const [ann, ben, cleo] = pages;
      await say(cleo, "hello, both");
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
