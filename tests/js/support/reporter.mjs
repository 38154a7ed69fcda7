// One line for each suite, and everything about a test that fails.

import { relative } from "node:path";
import { inspect } from "node:util";

const suite = process.env.SUITE ?? "tests";

export default async function* report(events) {
  const began = Date.now();
  const count = { passed: 0, failed: 0, skipped: 0 };
  const names = [];
  for await (const { type, data } of events) {
    if (type === "test:start") names.splice(data.nesting, Infinity, data.name);
    if (type === "test:stdout" || type === "test:stderr") yield data.message;
    const isSuite = data?.details?.type === "suite";
    if (type === "test:pass" && !isSuite) count[data.skip === undefined ? "passed" : "skipped"] += 1;
    // A suite fails with its tests, of which each is told; but it may fail for itself, in a hook.
    if (type === "test:fail" && !(isSuite && data.details.error.failureType === "subtestsFailed")) {
      count.failed += 1;
      if (data.details.error.failureType === "cancelledByParent") continue; // Its suite says why.
      const where = [suite, data.file && relative(process.cwd(), data.file), ...names.slice(0, data.nesting), data.name];
      const { cause } = data.details.error;
      yield `FAILED ${where.filter(Boolean).join(": ")}\n${cause?.stack ?? inspect(cause ?? data.details.error)}\n\n`;
    }
  }
  const seconds = ((Date.now() - began) / 1000).toFixed(0);
  const skipped = count.skipped > 0 ? `, ${count.skipped} skipped` : "";
  yield `${suite}: ${count.passed} passed, ${count.failed} failed${skipped} in ${seconds} s\n`;
}
