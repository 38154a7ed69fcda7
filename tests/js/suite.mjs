// Runs the scenarios over every door of the crate: the examples that mount it, and what stands in front.
//
//   npm test                                     all of them
//   npm test -- hyper_bare nginx                 some of them
//   npm test -- actix_app sessions.test.mjs      one file, over one door

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { basename, dirname } from "node:path";
import { fileURLToPath } from "node:url";

/** Folders of scenarios, or single files of them; those in `doors` are the same for each example. */
const SUITES = {
  axum_layer: ["doors"],
  axum_service: ["doors"],
  hyper_bare: ["doors"],
  actix_app: ["doors"],
  // It serves connections in its own way: of the doors' scenarios, those with every client.
  standalone: ["standalone", "doors/clients.test.mjs"],
  nginx: ["nginx"],
  trust: ["trust"],
  cluster_nats: ["cluster"],
  cluster_redis: ["cluster"],
};

/** What a folder needs: a dead node is noticed after 15 seconds, so that a test waits longer than usual. */
const SETTINGS = { cluster: { PATIENCE_MS: "60000" } };

const arguments_ = process.argv.slice(2);
const files = arguments_.filter(isFile);
const names = arguments_.filter((name) => !files.includes(name));
const unknown = names.filter((name) => !Object.hasOwn(SUITES, name));
if (unknown.length > 0) {
  console.error(`no such suite: ${unknown}; there are ${Object.keys(SUITES).join(", ")}`);
  process.exit(2);
}

process.chdir(fileURLToPath(new URL(".", import.meta.url)));
for (const name of names.length > 0 ? names : Object.keys(SUITES)) {
  const paths = SUITES[name].flatMap((part) => (isFile(part) ? part : readdirSync(part).filter(isFile).map((file) => `${part}/${file}`)));
  const chosen = paths.filter((path) => files.length === 0 || files.includes(basename(path)));
  if (chosen.length > 0 && !(await passes(name, chosen))) process.exitCode = 1;
}

function isFile(name) {
  return name.endsWith(".test.mjs");
}

async function passes(name, paths) {
  // Ten minutes for a file, so that what hangs fails: all of them together take six.
  const options = ["--test", "--test-concurrency=2", "--test-timeout=600000", "--test-reporter=./support/reporter.mjs", "--test-reporter-destination=stdout"];
  const child = spawn(process.execPath, [...options, ...paths], {
    env: { ...process.env, SUITE: name, ...(paths.some((path) => path.startsWith("doors/")) && { DOOR: name }), ...SETTINGS[dirname(paths[0])] },
    stdio: "inherit",
  });
  const [code] = await once(child, "exit");
  return code === 0;
}
