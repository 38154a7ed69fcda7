// A headless Chromium with a fake camera, and pages that fail their test when a script of theirs does.

import { existsSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";
const SCREENS = fileURLToPath(new URL("../screens/", import.meta.url));

/** How long a page may take to get somewhere. Generous: machines are slow, and no test is about time. */
export const PATIENCE = 60_000;

export const DESKTOP = { width: 1280, height: 800 };
export const PHONE = { width: 390, height: 844 };

/** A browser that ends with its test. `camera: false` is one that has none. */
export async function startBrowser(t, { camera = true } = {}) {
  if (!existsSync(EXECUTABLE)) throw new Error(`${EXECUTABLE} is not there: apt-get install chromium`);
  const browser = await chromium.launch({
    executablePath: EXECUTABLE,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      // Candidates with addresses: there is no mDNS responder for the hidden ones here.
      "--disable-features=WebRtcHideLocalIpsWithMdns",
      ...(camera ? ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"] : []),
    ],
  });
  t.after(() => browser.close());
  return browser;
}

/** A page in a profile of its own. What its scripts throw is kept in `page.errors`. */
export async function openPage(browser, url, { viewport = DESKTOP, script } = {}) {
  // nginx has a certificate of its own making.
  const context = await browser.newContext({ viewport, ignoreHTTPSErrors: true });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  // Runs before the page's own.
  if (script) await page.addInitScript(script);
  page.errors = [];
  page.on("pageerror", (error) => page.errors.push(error.message));
  await page.goto(url);
  return page;
}

/** Keeps a picture of the page for people to look at. */
export async function picture(page, name) {
  mkdirSync(SCREENS, { recursive: true });
  await page.screenshot({ path: `${SCREENS}${name}.png` });
}
