// A real TURN server, and pages that may not connect in any other way than through it.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { describe, it } from "node:test";

import { openPage, picture, startBrowser } from "../support/browser.mjs";
import { startCoturn } from "../support/coturn.mjs";
import { startServer } from "../support/server.mjs";

const start = (t, coturn, env = {}) =>
  startServer({ t, name: "turn", env: { PEER_DATA_TURN_URLS: coturn.url, PEER_DATA_TURN_SECRET: "north", ...env } });

async function join(browser, server) {
  const page = await openPage(browser, `${server.url}/?room=call&relay`);
  await page.locator("#status", { hasText: "In call" }).waitFor();
  return page;
}

const peer = (page) => page.evaluate(() => {
  const [{ candidates, errors, received, connection }] = window.peers.values();
  return { candidates, errors, received, state: connection.connectionState };
});

const hears = (page, text) =>
  page.waitForFunction((text) => [...window.peers.values()].some(({ received }) => received.includes(text)), text);

const isOpen = (page) =>
  page.waitForFunction(() => [...window.peers.values()].some(({ channel }) => channel?.readyState === "open"));

describe("a relay", () => {
  it("carries what two pages say, with credentials that the server makes for each", async (t) => {
    const [browser, coturn] = [await startBrowser(t), await startCoturn(t, ["north"])];
    const server = await start(t, coturn);
    const [ann, ben] = [await join(browser, server), await join(browser, server)];
    await Promise.all([isOpen(ann), isOpen(ben)]);
    await ann.evaluate(() => window.say("from Ann"));
    await hears(ben, "from Ann");
    await ben.fill("#say input", "typed by Ben");
    await ben.click("#say button");
    await hears(ann, "typed by Ben");
    for (const page of [ann, ben]) {
      const { candidates } = await peer(page);
      assert.ok(candidates.length > 0 && candidates.every((type) => type === "relay"), String(candidates));
      assert.deepEqual(page.errors, []);
    }
    const users = await Promise.all([ann, ben].map((page) => page.evaluate(() => window.iceServers[0].username)));
    assert.notEqual(users[0], users[1]);
    for (const user of users) assert.ok(coturn.output.includes(user), `coturn has not seen ${user}`);
    await picture(ann, "turn");
  });

  it("takes the old secret and the new one while they change", async (t) => {
    const [browser, coturn] = [await startBrowser(t), await startCoturn(t, ["north", "south"])];
    const [north, south] = [await start(t, coturn), await start(t, coturn, { PEER_DATA_TURN_SECRET: "south" })];
    for (const server of [north, south]) {
      const [ann, ben] = [await join(browser, server), await join(browser, server)];
      await Promise.all([isOpen(ann), isOpen(ben)]);
      await Promise.all([ann.context().close(), ben.context().close()]);
    }
  });

  it("is open until credentials end, and closed after that", async (t) => {
    const [browser, coturn] = [await startBrowser(t), await startCoturn(t, ["north"])];
    const page = await join(browser, await start(t, coturn));
    const [given] = await page.evaluate(() => window.iceServers);
    const [end, user] = given.username.split(":");
    assert.ok(Number(end) > Date.now() / 1000);
    // The same user with the server's own secret, for a time that is over.
    const username = `${Math.floor(Date.now() / 1000) - 60}:${user}`;
    const credential = createHmac("sha1", "north").update(username).digest("base64");
    const gather = (server) => page.evaluate(async (server) => {
      const connection = new RTCPeerConnection({ iceServers: [server], iceTransportPolicy: "relay" });
      const [candidates, errors] = [[], []];
      connection.onicecandidateerror = ({ errorCode }) => errors.push(errorCode);
      const gathered = new Promise((resolve) => {
        connection.onicecandidate = ({ candidate }) => (candidate ? candidates.push(candidate.type) : resolve());
      });
      connection.createDataChannel("text");
      await connection.setLocalDescription();
      await gathered;
      connection.close();
      return { candidates, errors };
    }, server);
    const ended = await gather({ ...given, username, credential });
    assert.deepEqual([ended.candidates, ended.errors[0]], [[], 401]);
    const good = await gather(given);
    assert.deepEqual([...new Set(good.candidates)], ["relay"]);
    assert.deepEqual(page.errors, []);
  });

  it("is closed to who was given nothing, or credentials of another secret", async (t) => {
    const [browser, coturn] = [await startBrowser(t), await startCoturn(t, ["north"])];
    const server = await start(t, coturn, { PEER_DATA_TURN_SECRET: "south" });
    const ann = await join(browser, server);
    const ben = await join(browser, server);
    await ann.waitForFunction(() => [...window.peers.values()].some(({ errors }) => errors.length > 0));
    const { candidates, errors, state } = await peer(ann);
    assert.deepEqual(candidates, []);
    assert.match(errors[0], /^401 /);
    assert.notEqual(state, "connected");
    assert.deepEqual(ben.errors, []);
  });
});
