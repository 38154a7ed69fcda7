// What has arrived and was not yet looked at, and a way to wait for more.

import { inspect } from "node:util";

/** Far longer than anything takes; only a failing test waits so long. */
const PATIENCE_MS = Number(process.env.PATIENCE_MS ?? 20_000);

/** Rejects with `what` if `promise` takes longer than a test should ever wait. */
export function within(promise, what, ms = PATIENCE_MS) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms for ${what}`)), ms);
  });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}

export class Inbox {
  #items = [];
  #waiting = [];

  constructor(owner) {
    this.owner = owner;
  }

  push(item) {
    this.#items.push(item);
    for (const waiter of [...this.#waiting]) waiter();
  }

  /** Takes the first item for which `predicate` is true, now or later, and leaves the others. */
  next(predicate = () => true, what = predicate.toString()) {
    let waiter;
    const found = new Promise((resolve) => {
      waiter = () => {
        const at = this.#items.findIndex(predicate);
        if (at < 0) return;
        this.#drop(waiter);
        resolve(this.#items.splice(at, 1)[0]);
      };
      this.#waiting.push(waiter);
      waiter();
    });
    return within(found, `${this.owner}: ${what}`).catch((error) => {
      this.#drop(waiter);
      error.message += `\nin the inbox: ${inspect(this.#items, { depth: 4 }).slice(0, 2_000)}`;
      throw error;
    });
  }

  /** Takes `count` items for which `predicate` is true, in the order of their arrival. */
  async take(count, predicate) {
    const taken = [];
    while (taken.length < count) taken.push(await this.next(predicate));
    return taken;
  }

  /** Takes everything that has arrived. */
  drain() {
    return this.#items.splice(0);
  }

  #drop(waiter) {
    this.#waiting = this.#waiting.filter((other) => other !== waiter);
  }
}
