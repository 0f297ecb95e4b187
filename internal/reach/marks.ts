import type { CommitGraph } from './graph.ts';

/** A growing set of graph nodes. */
export class NodeSet {
  #bits = new Uint8Array(1024);
  size = 0;

  has(node: number): boolean {
    return this.#bits[node] === 1;
  }

  add(node: number): boolean {
    if (node >= this.#bits.length) {
      const wider = new Uint8Array(Math.max(this.#bits.length * 2, node + 1));
      wider.set(this.#bits);
      this.#bits = wider;
    }
    if (this.#bits[node] === 1) return false;
    this.#bits[node] = 1;
    this.size++;
    return true;
  }

  clear(): void {
    this.#bits.fill(0);
    this.size = 0;
  }
}

/** Adds a node and everything it reaches in the graph: what a tag names, a commit's ancestors. */
export function flood(graph: CommitGraph, into: NodeSet, start: number): void {
  if (start < 0 || !into.add(start)) return;
  const stack = [start];
  while (stack.length > 0) {
    const node = stack.pop()!;
    if (graph.isTag(node)) {
      const target = graph.find(graph.target(node));
      if (target >= 0 && into.add(target)) stack.push(target);
      continue;
    }
    for (let i = 0; i < graph.parentCount(node); i++) {
      const parent = graph.parent(node, i);
      if (graph.isKnown(parent) && into.add(parent)) stack.push(parent);
    }
  }
}
