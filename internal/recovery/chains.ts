import { codeOf, messageOf } from '../base/mod.ts';
import type { PackStore } from '../packstore/mod.ts';
import { bad, readHead, SNAPSHOTS, type SnapshotHead, textSum } from './snapshot-format.ts';

/** A snapshot in a store. */
export interface StoredSnapshot {
  readonly key: string;
  readonly head: SnapshotHead;
}

/** A full snapshot and those that follow it, in order; every byte of them has been read and found whole. */
export type SnapshotChain = readonly [StoredSnapshot, ...StoredSnapshot[]];

/**
 * The chain that leads to the newest snapshot that can be read, null when there is none. What is damaged, or follows something that is
 * damaged or gone, is told and passed over.
 */
export async function newestChain(store: PackStore, onProblem: (message: string) => void): Promise<SnapshotChain | null> {
  const found = new Map<string, StoredSnapshot>();
  for await (const { key, lengthBytes } of store.list(SNAPSHOTS)) {
    const head = await readHead(store, key, lengthBytes);
    if (head === null) onProblem(`${key} is no snapshot, or its beginning is damaged`);
    else found.set(key, { key, head });
  }
  const newestFirst = [...found.values()].sort((a, b) => (a.head.takenAt < b.head.takenAt ? 1 : -1));
  const sums = new Map<string, Promise<string>>();
  const sumOf = (key: string): Promise<string> => {
    const known = sums.get(key) ?? textSum(store, key);
    sums.set(key, known);
    return known;
  };
  const told = new Set<string>();
  for (const newest of newestFirst) {
    try {
      return await chainTo(newest, found, sumOf);
    } catch (error) {
      if (codeOf(error) !== 'snapshot-bad') throw error;
      const message = messageOf(error);
      if (!told.has(message)) onProblem(message);
      told.add(message);
    }
  }
  return null;
}

async function chainTo(
  newest: StoredSnapshot,
  found: ReadonlyMap<string, StoredSnapshot>,
  sumOf: (key: string) => Promise<string>,
): Promise<SnapshotChain> {
  const chain: [StoredSnapshot, ...StoredSnapshot[]] = [newest];
  await sumOf(newest.key);
  for (let previous = newest.head.previous; previous !== null; ) {
    const before = found.get(previous.key);
    if (before === undefined) throw bad(previous.key, 'it is missing, and others follow it');
    if ((await sumOf(before.key)) !== previous.sha256) throw bad(previous.key, 'it is not the one that others follow');
    chain.unshift(before);
    previous = before.head.previous;
  }
  return chain;
}
