// The inspector as an operator sees it: by mouse, by keyboard, on a phone, and by a screen reader's rules.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { describe, it } from "node:test";

import { DESKTOP, PHONE, openPage, picture, startBrowser } from "../support/browser.mjs";
import { kind } from "../support/clients.mjs";
import { departure, event } from "../support/events.mjs";
import { startServer } from "../support/server.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const TOKEN = "sesame";
const ROOM = "kitchen <b>5</b>";

async function start(t, env = {}) {
  const server = await startServer({ t, name: "standalone", env: { PEER_DATA_INSPECTOR_TOKEN: TOKEN, ...env } });
  return [await startBrowser(t, { camera: false }), server];
}

async function join(t, server, name, room = ROOM) {
  const client = await kind(name).open(server.url);
  t.after(() => client.close());
  await client.connect(room);
  return client;
}

/** The page, past its question. */
async function open(browser, server, options) {
  const page = await openPage(browser, `${server.url}/inspector`, options);
  await signIn(page, TOKEN);
  await page.locator("#content").waitFor();
  return page;
}

async function signIn(page, token) {
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Show" }).click();
}

/** Nothing that axe knows to shut anybody out. */
async function isAccessible(page, what) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  assert.deepEqual(found, [], what);
}

/** Notes each word of a status that can be seen and heard when it is said: what is behind a dialog is neither. */
function listen(page) {
  return page.evaluate(() => {
    globalThis.told = [];
    const note = (status) => {
      const { x, y, width, height } = status.getBoundingClientRect();
      const isOnTop = status.contains(document.elementFromPoint(x + width / 2, y + height / 2));
      if (status.textContent !== "" && isOnTop) globalThis.told.push(status.textContent);
    };
    for (const status of document.querySelectorAll("[role=status]")) {
      new MutationObserver(() => note(status)).observe(status, { childList: true });
    }
  });
}

const isTold = (page, text) => page.waitForFunction((text) => globalThis.told.includes(text), text);

const row = (page, text) => page.locator("[role=tabpanel]:not([hidden]) tbody tr", { hasText: text });

describe("the inspector", () => {
  it("shows nothing without its token, and asks nobody else", async (t) => {
    const [browser, server] = await start(t);
    await join(t, server, "plain JSON");
    for (const headers of [{}, { authorization: "Bearer sesam" }, { authorization: `Basic ${TOKEN}` }]) {
      const answer = await fetch(`${server.url}/inspector/api/overview`, { headers });
      assert.equal(answer.status, 401);
      assert.equal(await answer.text(), "");
    }
    const page = await openPage(browser, `${server.url}/inspector/`);
    const asked = [];
    page.on("request", (request) => asked.push(request.url()));
    await page.getByLabel("Token").waitFor();
    await isAccessible(page, "the question");
    await signIn(page, "wrong");
    await page.getByText("That token is not the right one.").waitFor();
    assert.ok(await page.locator("#content").isHidden());
    await signIn(page, TOKEN);
    await row(page, ROOM).waitFor();
    assert.deepEqual(asked.filter((url) => !url.startsWith(`${server.url}/inspector/`)), []);
    // Kept for this window alone.
    assert.deepEqual(await page.evaluate(() => [localStorage.length, document.cookie]), [0, ""]);
    assert.deepEqual(page.errors, []);
  });

  it("shows who is there and how their calls stand", async (t) => {
    const [browser, server] = await start(t);
    const ann = await join(t, server, "plain JSON");
    const ben = await join(t, server, "socket.io-client 4.8 websocket");
    const cleo = await join(t, server, "socket.io-client 2.5 polling");
    const hears = (peer, type) => peer.next((heard) => heard.type === type);
    const tell = async (from, to, type) => {
      from.send(event(type, { to: to.id, room: ROOM, payload: "opaque" }));
      await hears(to, type);
    };
    await tell(ann, ben, "OFFER");
    await tell(ann, cleo, "OFFER");
    await tell(cleo, ann, "ANSWER");
    await tell(ann, cleo, "CANDIDATE");
    await tell(ben, cleo, "OFFER");
    await tell(cleo, ben, "ANSWER");
    await tell(ben, cleo, "CANDIDATE");
    await tell(cleo, ben, "CANDIDATE");
    // Refused, and gone.
    ben.send(event("OFFER", { to: "nobodyatallnobodyatal", room: ROOM }));
    await hears(ben, "ERROR");
    const dan = await join(t, server, "plain JSON", "elsewhere");
    dan.close();

    for (const [viewport, size] of [[DESKTOP, "desktop"], [PHONE, "phone"]]) {
      const page = await open(browser, server, { viewport });
      await row(page, ROOM).waitFor();
      assert.equal(await page.locator("#lists b").count(), 0, "names are text");
      await page.locator("#charts svg[aria-label^='Peers: 3 now']").waitFor();
      // Measured once somebody looks.
      await page.getByRole("button", { name: "Members’ events per s" }).click();
      await row(page, ROOM).getByText("0", { exact: true }).waitFor();
      await isAccessible(page, `rooms, ${size}`);
      await picture(page, `inspector-rooms-${size}`);

      await page.getByRole("button", { name: ROOM }).click();
      const pairs = page.locator("#pairs");
      const called = ({ id }) => `${id.slice(0, 6)}…`;
      const time = "(\\d+ min )?\\d+ s";
      // Ids have no characters that mean something in an expression.
      const says = (from, to, state) => pairs.getByText(new RegExp(`^${called(from)} → ${called(to)}: ${state}`)).waitFor();
      await says(ann, ben, `offer unanswered for ${time}`);
      await says(ann, cleo, `answered ${time} ago, no candidates from ${called(cleo)}`);
      await says(ben, cleo, `negotiated ${time} ago, 1 and 1 candidates`);
      assert.equal(await pairs.locator("li").count(), 3);
      assert.ok(await page.locator("#more-pairs").isHidden());
      await isAccessible(page, `a room, ${size}`);
      await picture(page, `inspector-room-${size}`);
      await page.keyboard.press("Escape");

      await page.getByRole("tab", { name: "Peers" }).click();
      await row(page, cleo.id).getByText("polling").waitFor();
      await row(page, cleo.id).getByText("socket.io 2").waitFor();
      await row(page, ben.id).getByText("socket.io 4").waitFor();
      await row(page, ann.id).getByText("127.0.0.1").waitFor();
      await page.getByLabel("Search peers").fill(ben.id.toLowerCase());
      await row(page, ann.id).waitFor({ state: "detached" });
      assert.equal(await row(page, ben.id).count(), 1);
      await page.getByLabel("Search peers").fill("");
      await row(page, ann.id).waitFor();
      await isAccessible(page, `peers, ${size}`);
      await picture(page, `inspector-peers-${size}`);

      await page.getByRole("tab", { name: "Recent" }).click();
      await row(page, "no_such_peer").getByText(ben.id).waitFor();
      await row(page, "client_closed").getByText(dan.id).waitFor();
      await isAccessible(page, `recent, ${size}`);
      await picture(page, `inspector-recent-${size}`);
      const width = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.ok(width[0] <= width[1], `${size}: ${width}`);
      assert.deepEqual(page.errors, []);
    }
  });

  it("shows what does not come about in a room of more calls than it shows", async (t) => {
    const [browser, server] = await start(t);
    const peers = [];
    for (let count = 0; count < 22; count += 1) peers.push(await join(t, server, "plain JSON"));
    const tell = async (from, to, type) => {
      from.send(event(type, { to: to.id, room: ROOM, payload: "opaque" }));
      await to.next((heard) => heard.type === type && heard.caller.id === from.id);
    };
    // All but the last two pairs of 231 come about; of these one has an offer, the other nothing.
    const [last, before, third] = peers.toReversed();
    for (const [at, from] of peers.entries()) {
      for (const to of peers.slice(at + 1)) {
        if (to === last && (from === before || from === third)) continue;
        for (const [one, other, type] of [[from, to, "OFFER"], [to, from, "ANSWER"], [from, to, "CANDIDATE"], [to, from, "CANDIDATE"]]) {
          await tell(one, other, type);
        }
      }
    }
    await tell(before, last, "OFFER");
    const page = await open(browser, server);
    await page.getByRole("button", { name: ROOM }).click();
    await page.locator("#pairs li").first().getByText("offer unanswered").waitFor();
    assert.equal(await page.locator("#pairs li").count(), 200);
    assert.equal(await page.locator("#more-pairs").textContent(), "30 more pairs are not shown. Of one pair no offer is known.");
    await picture(page, "inspector-many-pairs");
    assert.deepEqual(page.errors, []);
  });

  it("disconnects a peer and closes a room, if it is asked twice", async (t) => {
    const [browser, server] = await start(t);
    const ann = await join(t, server, "plain JSON");
    const ben = await join(t, server, "socket.io-client 4.8 websocket");
    await ann.next(({ type }) => type === "CONNECT");
    const page = await open(browser, server);
    await listen(page);
    await page.getByRole("tab", { name: "Peers" }).click();
    const disconnect = page.getByRole("button", { name: `Disconnect ${ben.id}` });
    await disconnect.click();
    await page.getByRole("button", { name: "No", exact: true }).click();
    await disconnect.click();
    await page.getByRole("button", { name: "Yes" }).click();
    assert.deepEqual(await ann.next(), departure(ben.id, ROOM));
    await ben.closed;
    await row(page, ben.id).waitFor({ state: "detached" });
    await isTold(page, "Disconnected.");

    const cleo = await join(t, server, "socket.io-client 2.5 websocket");
    await ann.next(({ type }) => type === "CONNECT");
    await page.getByRole("tab", { name: "Rooms" }).click();
    await page.getByRole("button", { name: ROOM }).click();
    await page.getByText("Of one pair no offer is known.").waitFor();
    await page.getByRole("button", { name: "Close room" }).click();
    await isAccessible(page, "are you sure?");
    await page.getByRole("button", { name: "Yes" }).click();
    assert.deepEqual(await ann.next(), departure(cleo.id, ROOM));
    assert.deepEqual(await cleo.next(), departure(ann.id, ROOM));
    await isTold(page, "Closed: 2 members taken out.");
    await picture(page, "inspector-closed-room");
    await page.getByText("0 members here").waitFor();

    // A page of somebody else's cannot do so, even where it is let in.
    const forged = await fetch(`${server.url}/inspector/api/disconnect?peer=${ann.id}`, {
      method: "POST",
      headers: { authorization: `Bearer ${TOKEN}` },
    });
    assert.equal(forged.status, 403);
  });

  it("is used by keyboard alone, and keeps the focus while it changes", async (t) => {
    const [browser, server] = await start(t);
    await join(t, server, "plain JSON");
    const page = await openPage(browser, `${server.url}/inspector`);
    await page.waitForFunction(() => document.activeElement.name === "token");
    await page.keyboard.type(TOKEN);
    await page.keyboard.press("Enter");
    await row(page, ROOM).waitFor();
    const focused = () => page.evaluate(() => document.activeElement.textContent);
    const tabTo = async (text) => {
      for (let presses = 0; presses < 40; presses += 1) {
        if ((await focused()).startsWith(text)) return;
        await page.keyboard.press("Tab");
      }
      assert.fail(`no way to ${text}`);
    };
    await tabTo(ROOM);
    // Others come while it looks, and rows move.
    for (const room of ["attic", "cellar"]) {
      await join(t, server, "plain JSON", room);
      await join(t, server, "plain JSON", room);
      await row(page, room).waitFor();
    }
    assert.equal(await focused(), ROOM);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: ROOM }).waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("heading", { name: ROOM }).waitFor({ state: "hidden" });
    assert.equal(await focused(), ROOM, "back where it was");
    await tabTo("Pause");
    await tabTo("Rooms");
    await page.keyboard.press("ArrowRight");
    assert.match(await focused(), /^Peers/);
    await page.getByLabel("Search peers").waitFor();
    await page.keyboard.press("ArrowLeft");
    await page.getByLabel("Search rooms").waitFor();
    assert.deepEqual(page.errors, []);
  });

  it("shows ten thousand rooms a page at a time", async (t) => {
    const [browser, server] = await start(t);
    const everywhere = await join(t, server, "plain JSON", "room-00000");
    for (let number = 1; number < 10_000; number += 1) {
      everywhere.send(event("CONNECT", { room: `room-${String(number).padStart(5, "0")}` }));
    }
    const page = await open(browser, server);
    const where = page.locator("#panel-rooms .pages");
    await where.getByText("1 of 200 (10,000)").waitFor();
    await page.getByRole("button", { name: "Room", exact: true }).click();
    await row(page, "room-00049").waitFor();
    assert.equal(await page.locator("#panel-rooms tbody tr").count(), 50);
    await page.getByRole("button", { name: "Next" }).click();
    await where.getByText("2 of 200").waitFor();
    await row(page, "room-00050").waitFor();
    await page.getByLabel("Search rooms").fill("ROOM-0999");
    await where.getByText("1 of 1 (10)").waitFor();
    await row(page, "room-09999").waitFor();
    await page.getByRole("button", { name: "Room", exact: true }).click();
    await page.waitForFunction(() => document.querySelector("#panel-rooms tbody tr").textContent.includes("room-09999"));
    await picture(page, "inspector-many-rooms");
    assert.deepEqual(page.errors, []);
  });
});
