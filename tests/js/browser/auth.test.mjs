// The example `auth` in a real page: who gets in, and what is shown to who does not.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { PHONE, openPage, picture, startBrowser } from "../support/browser.mjs";
import { startServer } from "../support/server.mjs";

async function logIn(browser, server, name, invited = "") {
  const page = await openPage(browser, server.url, { viewport: PHONE });
  await page.fill("[name=name]", name);
  await page.fill("[name=invited]", invited);
  await page.click("#login button");
  await page.locator("#status", { hasText: `You are ${name}.` }).waitFor();
  return page;
}

async function enter(page, room) {
  await page.fill("[name=room]", room);
  await page.click("#enter button");
}

describe("auth", () => {
  it("lets in whoever has logged in, into the rooms that are open to them", async (t) => {
    const [browser, server] = [await startBrowser(t), await startServer({ t, name: "auth" })];
    const ann = await logIn(browser, server, "Ann", "kitchen");
    const ben = await logIn(browser, server, "Ben");
    await enter(ann, "lobby");
    await enter(ann, "kitchen");
    await enter(ben, "lobby");
    await ann.locator("#log li", { hasText: "Somebody who says to be Ben has entered lobby." }).waitFor();
    await enter(ben, "kitchen");
    const problem = ben.locator("#problem");
    await problem.filter({ hasText: "you are not invited to that room" }).waitFor();
    assert.match(await problem.innerText(), /^refused/);
    await picture(ben, "auth-not-invited");
    // The connection lives: Ben is still in the lobby.
    await ben.close();
    await ann.locator("#log li", { hasText: "Somebody has left lobby." }).waitFor();
    assert.equal(await ann.locator("#log li").count(), 2);
    assert.deepEqual([ann.errors, ben.errors], [[], []]);
  });

  it("shows why a forged token is refused", async (t) => {
    const [browser, server] = [await startBrowser(t), await startServer({ t, name: "auth" })];
    const page = await openPage(browser, server.url);
    await page.click("#forge");
    const problem = page.locator("#problem");
    await problem.filter({ hasText: "log in first" }).waitFor();
    assert.match(await problem.innerText(), /^4401/);
    await picture(page, "auth-forged");
    assert.deepEqual(page.errors, []);
    // And a good one gets in from the same page.
    await page.fill("[name=name]", "Eve");
    await page.click("#login button");
    await page.locator("#status", { hasText: "You are Eve." }).waitFor();
  });

  it("refuses tokens of another server", async (t) => {
    const browser = await startBrowser(t);
    const secret = (letter) => ({ env: { AUTH_SECRET: letter.repeat(32) }, t, name: "auth" });
    const [own, other] = [await startServer(secret("a")), await startServer(secret("b"))];
    const token = async (server) => (await fetch(`${server.url}/login`, { method: "POST", body: new URLSearchParams({ name: "Eve" }) })).text();
    const page = await openPage(browser, own.url);
    const closes = (server, token) => page.evaluate(([url, token]) => new Promise((resolve) => {
      const socket = new WebSocket(url, ["peer-data", `bearer.${token}`]);
      socket.onclose = ({ code }) => resolve(code);
      socket.onmessage = ({ data }) => resolve(JSON.parse(data).type);
    }), [`${server.url.replace("http", "ws")}/peer-data`, token]);
    assert.equal(await closes(own, await token(own)), "READY");
    assert.equal(await closes(own, await token(other)), 4401);
  });
});
