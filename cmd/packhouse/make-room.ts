import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** A cache that can be told to hold less. */
export interface Limited {
  limitTo(part: number): void;
}

/** So much of each cache always stays: with less, what is read for one look would push out what is read for the next. */
const KEPT_PART = 0.2;
/** A push that takes less is over before it is worth a collection. */
const COLLECTED_BYTES_MIN = 64 << 20;

/**
 * Caches hold less while large pushes are worked on: what a push says that it takes is taken from the `cachesBytesMax` of all, from each in
 * proportion, until it calls what it got. For a very large one what caches let go of is collected at once: while other threads work on it, this one has
 * little to do, and would leave it lying about until the push is over.
 */
export function makingRoom(caches: readonly Limited[], cachesBytesMax: number): (bytes: number) => () => void {
  let taken = 0;
  const take = (bytes: number): void => {
    taken += bytes;
    const part = Math.max(1 - taken / Math.max(cachesBytesMax, 1), KEPT_PART);
    for (const cache of caches) cache.limitTo(part);
  };
  return (bytes) => {
    let isHeld = true;
    take(bytes);
    // Not in this task: what a WeakRef was made of in it stays until its end.
    if (bytes >= COLLECTED_BYTES_MIN) setImmediate(collectGarbage);
    return () => {
      if (isHeld) take(-bytes);
      isHeld = false;
    };
  };
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}
