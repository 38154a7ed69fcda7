// What the two pages with the npm client have in common, as their visitors use them.

import { openPage } from "./browser.mjs";

/** A page in the room, once its client has asked to join. `query` adds parameters. */
export async function join(browser, url, { server, ...query } = {}) {
  // As whoever serves the page would write it there.
  const written = `document.onreadystatechange = () => { document.body.dataset.server = ${JSON.stringify(server)}; };`;
  const script = server && written;
  const page = await openPage(browser, `${url}/?${new URLSearchParams({ room: "call", ...query })}`, { script });
  await page.evaluate(() => window.ready);
  return page;
}

/** Waits until the page has open channels with `count` others, and no one else; and live video, with `video`. */
export async function meets(page, count, { video = true } = {}) {
  const met = ({ count, video }) =>
    window.peers.length === count &&
    window.peers.every(({ channelState, videoTracks }) => channelState === "open" && (!video || videoTracks > 0));
  await page.waitForFunction(met, { count, video });
}

/** Has each page say something that the other hears. */
export async function talk(one, other) {
  for (const [from, to, text] of [[one, other, "from one"], [other, one, "and from the other"]]) {
    await from.evaluate((text) => window.sendToAll(text), text);
    await hears(to, text);
  }
}

export async function hears(page, text) {
  await page.waitForFunction((text) => window.peers.some(({ received }) => received.includes(text)), text);
}
