/** Lets at most `most` callers in at a time, the others in the order they came; waiting ends with the caller's signal. */
export function createGate(most: number): { enter(signal?: AbortSignal): Promise<() => void> } {
  let free = most;
  const waiting = new Set<() => void>();

  function leave(): void {
    const [next] = waiting;
    if (next === undefined) {
      free += 1;
    } else {
      waiting.delete(next);
      next();
    }
  }

  async function enter(signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    if (free > 0) {
      free -= 1;
      return leave;
    }
    await new Promise<void>((resolve, reject) => {
      const admit = () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      const onAbort = () => {
        waiting.delete(admit);
        reject(signal?.reason);
      };
      waiting.add(admit);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
    return leave;
  }

  return { enter };
}
