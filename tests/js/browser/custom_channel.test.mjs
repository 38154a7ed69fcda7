// A signaling channel written by hand, over a plain WebSocket, in real pages.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { PHONE, openPage, picture, startBrowser } from "../support/browser.mjs";
import { hears, join, meets, talk } from "../support/pages.mjs";
import { RawJsonPeer } from "../support/raw.mjs";
import { startServer } from "../support/server.mjs";

const start = (t) => startServer({ t, name: "custom_channel" });
/** Its picture never moves: there may be no frame of it to see. */
const meet = (page, count) => meets(page, count, { video: false });

describe("a channel of one's own", () => {
  it("negotiates a data channel and carries text both ways", async (t) => {
    const [browser, server] = [await startBrowser(t), await start(t)];
    const [ann, ben] = [await join(browser, server.url), await join(browser, server.url)];
    await Promise.all([meet(ann, 1), meet(ben, 1)]);
    await talk(ann, ben);

    // As its visitors do it.
    await ann.fill("#say input", "typed by Ann");
    await ann.click("#say button");
    await hears(ben, "typed by Ann");
    await ben.setViewportSize(PHONE);
    await picture(ben, "custom_channel-phone");
    assert.ok(await ben.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "too wide for a phone");
    await ben.close();
    await meet(ann, 0);
    assert.deepEqual(ann.errors, []);
  });

  it("meets SocketChannel in one room, whoever comes first", async (t) => {
    const browser = await startBrowser(t);
    const [own, pages] = [await start(t), await startServer({ t, name: "peer_data_client" })];
    const custom = () => join(browser, own.url, { server: pages.url });
    const standard = () => join(browser, pages.url);
    for (const [first, second] of [[custom, standard], [standard, custom]]) {
      const [ann, ben] = [await first(), await second()];
      await Promise.all([meet(ann, 1), meet(ben, 1)]);
      await talk(ann, ben);
      assert.deepEqual([ann.errors, ben.errors], [[], []]);
      await Promise.all([ann.context().close(), ben.context().close()]);
    }
  });

  it("meets two who came before, by one server behind another origin's page", async (t) => {
    const [browser, own, signaling] = [await startBrowser(t), await start(t), await startServer({ t, name: "actix_app" })];
    const pages = [];
    for (let count = 0; count < 3; count += 1) {
      pages.push(await join(browser, own.url, { server: signaling.url }));
      for (const page of pages) await meet(page, count);
    }
    await talk(pages[0], pages[2]);
    assert.deepEqual(pages.map((page) => page.errors), [[], [], []]);
  });

  it("keeps from peer-data what it does not know, whoever says it", async (t) => {
    const [browser, server] = [await startBrowser(t), await start(t)];
    const stranger = await RawJsonPeer.open(server);
    await stranger.connect("call");
    const page = await join(browser, server.url);
    const warning = page.waitForEvent("console", { predicate: (message) => message.text().startsWith("refused:") });
    const unknown = ["READY", "ERROR", "CHAT", "log", "disconnected"];
    await page.evaluate((types) => {
      window.dispatched = [];
      for (const type of types) window.channel.dispatcher.register(type, () => window.dispatched.push(type));
    }, [...unknown, "CONNECT"]);

    // The server's own ERROR is told to the developer.
    await page.evaluate(() => window.channel.onSend({ type: "OFFER", callee: { id: "nobody" }, room: { id: "call" } }));
    await warning;
    for (const type of unknown) stranger.send({ type, room: { id: "call" }, payload: { id: "not mine" } });
    stranger.send({ type: "CONNECT", room: { id: "call" }, payload: null });
    await page.waitForFunction(() => window.dispatched.includes("CONNECT"));
    assert.deepEqual(await page.evaluate(() => window.dispatched), ["CONNECT"]);
    assert.deepEqual(page.errors, []);
    stranger.close();
  });

  it("says when the connection to the server is lost", async (t) => {
    const [browser, server] = [await startBrowser(t), await startServer({ name: "custom_channel" })];
    const [ann, ben] = [await join(browser, server.url), await join(browser, server.url)];
    await Promise.all([meet(ann, 1), meet(ben, 1)]);
    await server.stop();
    await ann.locator("#status", { hasText: "lost" }).waitFor();
    await talk(ann, ben); // They need no server to talk.
    await picture(ann, "custom_channel-lost");
  });

  it("asks for a room", async (t) => {
    const [browser, server] = [await startBrowser(t), await start(t)];
    const page = await openPage(browser, server.url, { viewport: PHONE });
    await page.fill("#ask input", "kitchen");
    await page.click("#ask button");
    await page.locator("#status", { hasText: "In kitchen" }).waitFor();
    await picture(page, "custom_channel-alone");
  });
});
