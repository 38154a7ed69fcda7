// The chat page as its visitors see it.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { DESKTOP, PHONE, openPage, picture, startBrowser } from "../support/browser.mjs";
import { cable } from "../support/cable.mjs";
import { startServer } from "../support/server.mjs";

const by = (id, more = "") => `[data-testid="${id}"]${more}`;
const OTHERS = by("tile", ':not([data-state="self"])');
const CONNECTED = by("tile", '[data-state="connected"]');

/** Waits until the page shows `count` people, all others connected. */
async function shows(page, count) {
  await page.waitForFunction(
    ([counter, others, connected, count]) =>
      document.querySelector(counter)?.textContent.trim() === String(count) &&
      document.querySelectorAll(others).length === count - 1 &&
      document.querySelectorAll(connected).length === count - 1,
    [by("peer-count"), OTHERS, CONNECTED, count],
  );
}

async function say(page, text) {
  await page.fill(by("chat-input"), text);
  await page.click(by("chat-send"));
}

async function hears(page, text) {
  await page.locator(by("chat-message"), { hasText: text }).waitFor();
}

/** Waits until every other's video plays on the page. */
async function sees(page) {
  await page.waitForFunction(
    (others) => [...document.querySelectorAll(`${others} video`)].every((video) => video.videoWidth > 0),
    OTHERS,
  );
}

async function start(t, options) {
  return [await startBrowser(t, options), await startServer({ t, name: "chat" })];
}

describe("the chat page", () => {
  it("joins two windows that were opened on the same room", async (t) => {
    const [browser, server] = await start(t);
    const ann = await openPage(browser, `${server.url}/#testroom`, { viewport: DESKTOP });
    const ben = await openPage(browser, `${server.url}/#testroom`, { viewport: PHONE });
    await Promise.all([shows(ann, 2), shows(ben, 2)]);
    await Promise.all([sees(ann), sees(ben)]);
    await say(ann, "Hello from the desktop");
    await hears(ben, "Hello from the desktop");
    await say(ben, "Hello from the <b>phone</b>");
    await hears(ann, "Hello from the <b>phone</b>");
    await picture(ann, "chat-desktop");
    await picture(ben, "chat-phone");
    assert.ok(await ben.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the phone page is too wide");
    assert.deepEqual([ann.errors, ben.errors], [[], []]);
  });

  it("lets in through its form, and out again", async (t) => {
    const [browser, server] = await start(t);
    const ann = await openPage(browser, `${server.url}/#testroom`);
    await shows(ann, 1);
    const ben = await openPage(browser, server.url);
    await picture(ben, "chat-join");
    await ben.fill(by("room-input"), "testroom");
    await ben.fill(by("name-input"), "Ben");
    await ben.click(by("join-button"));
    await Promise.all([shows(ann, 2), shows(ben, 2)]);
    await ann.locator(OTHERS, { hasText: "Ben" }).waitFor();
    await ben.click(by("leave"));
    await shows(ann, 1);
    await ben.locator(by("join-form")).waitFor();
  });

  it("notices a third window, and one that is closed without a word", async (t) => {
    const [browser, server] = await start(t);
    const pages = [];
    for (let count = 1; count <= 3; count += 1) {
      pages.push(await openPage(browser, `${server.url}/#testroom`));
      for (const page of pages) await shows(page, count);
    }
    const [ann, ben, cleo] = pages;
    await picture(ann, "chat-three");
    await cleo.close();
    await Promise.all([shows(ann, 2), shows(ben, 2)]);
    await say(ann, "still here");
    await hears(ben, "still here");
  });

  it("goes on with a call whose connection to the server is lost for a while", async (t) => {
    const [browser, server] = await start(t);
    const wire = await cable(server);
    t.after(() => wire.close());
    const ann = await openPage(browser, `${server.url}/#testroom`);
    const ben = await openPage(browser, `${wire.url}/#testroom`);
    await Promise.all([shows(ann, 2), shows(ben, 2)]);
    // What is on its way when the wire is cut is lost: her picture has come, so nothing is.
    await sees(ben);
    await wire.cut();
    await ben.locator("#server", { hasText: "Reconnecting" }).waitFor();
    await say(ann, "can you hear me?");
    await hears(ben, "can you hear me?");
    await picture(ben, "chat-reconnecting");
    // Somebody comes meanwhile.
    const cleo = await openPage(browser, `${server.url}/#testroom`);
    await wire.mend();
    await ben.locator("#server", { hasText: "Online" }).waitFor();
    for (const page of [ann, ben, cleo]) await shows(page, 3);
    await say(ben, "I was there all the time");
    for (const page of [ann, cleo]) await hears(page, "I was there all the time");
    const [left, texts] = await ann.evaluate(() => {
      const texts = [...document.querySelectorAll("#log .event")].map((event) => event.textContent);
      return [texts.filter((text) => / left/.test(text)), texts];
    });
    assert.deepEqual(left, [], texts.join());
    assert.ok(texts.some((text) => / is here/.test(text)), "the log says who comes");
  });

  it("says what came up while the connection to the server was lost", async (t) => {
    const [browser, server] = await start(t);
    const wire = await cable(server);
    t.after(() => wire.close());
    const ann = await openPage(browser, `${server.url}/#testroom`);
    const script = () => {
      // No camera, until there is one.
      const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      globalThis.hasCamera = false;
      navigator.mediaDevices.getUserMedia = (wanted) =>
        wanted.video && !globalThis.hasCamera ? Promise.reject(new DOMException("", "NotFoundError")) : ask(wanted);
    };
    const ben = await openPage(browser, `${wire.url}/#testroom`, { script });
    await Promise.all([shows(ann, 2), shows(ben, 2)]);
    // What is on its way when the wire is cut is lost: her picture has come, so nothing is.
    await sees(ben);
    await wire.cut();
    await ben.locator("#server", { hasText: "Reconnecting" }).waitFor();
    // He has to offer it, and cannot.
    await ben.evaluate(() => (globalThis.hasCamera = true));
    await ben.click(by("camera-toggle"));
    await ben.waitForFunction(() => document.querySelector('[data-testid="tile"][data-state="self"] video')?.videoWidth > 0);
    assert.ok(await ann.evaluate((others) => !document.querySelector(`${others} video`)?.videoWidth, OTHERS));
    await wire.mend();
    await ben.locator("#server", { hasText: "Online" }).waitFor();
    await sees(ann);
    assert.deepEqual([ann.errors, ben.errors], [[], []]);
  });

  it("works without a camera", async (t) => {
    const [browser, server] = await start(t, { camera: false });
    const ann = await openPage(browser, `${server.url}/#testroom`, { viewport: PHONE });
    const ben = await openPage(browser, `${server.url}/#testroom`);
    await Promise.all([shows(ann, 2), shows(ben, 2)]);
    await say(ann, "no camera here");
    await hears(ben, "no camera here");
    await picture(ann, "chat-no-camera");
    assert.deepEqual([ann.errors, ben.errors], [[], []]);
  });

  it("keeps rooms apart", async (t) => {
    const [browser, server] = await start(t);
    const ann = await openPage(browser, `${server.url}/#one`);
    const eve = await openPage(browser, `${server.url}/#two`);
    const ben = await openPage(browser, `${server.url}/#one`);
    await Promise.all([shows(ann, 2), shows(ben, 2), shows(eve, 1)]);
    await say(ann, "between us");
    await hears(ben, "between us");
    assert.equal(await eve.locator(by("chat-message"), { hasText: "between us" }).count(), 0);
  });
});
