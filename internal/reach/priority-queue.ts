/** A binary heap of numbers, largest key first. */
export class PriorityQueue {
  readonly #items: number[] = [];
  readonly #keys: number[] = [];

  get size(): number {
    return this.#items.length;
  }

  push(item: number, key: number): void {
    const items = this.#items;
    const keys = this.#keys;
    let at = items.length;
    items.push(item);
    keys.push(key);
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (keys[up]! >= key) break;
      items[at] = items[up]!;
      keys[at] = keys[up]!;
      at = up;
    }
    items[at] = item;
    keys[at] = key;
  }

  /** The item with the largest key. The queue must not be empty. */
  pop(): number {
    const items = this.#items;
    const keys = this.#keys;
    const top = items[0]!;
    const item = items.pop()!;
    const key = keys.pop()!;
    const size = items.length;
    if (size === 0) return top;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      if (down >= size) break;
      if (down + 1 < size && keys[down + 1]! > keys[down]!) down++;
      if (keys[down]! <= key) break;
      items[at] = items[down]!;
      keys[at] = keys[down]!;
      at = down;
    }
    items[at] = item;
    keys[at] = key;
    return top;
  }
}
