import type { StoreOperation } from './faults.ts';
import type { PackStore, PutSource } from './store.ts';

/** One finished call: what it was, the bytes it moved, how long it took, and whether it resolved. */
export type OnRequest = (operation: StoreOperation, bytes: number, seconds: number, ok: boolean) => void;

/**
 * The same store, with `onRequest` called once for each finished call, for metrics and for tests that hold an operation to its
 * budget of requests. A `list` is one call however many pages it takes, and ends when its reader stops; a put is one call
 * however many parts it sends.
 */
export function withCounters(store: PackStore, onRequest: OnRequest): PackStore {
  async function counted<T>(operation: StoreOperation, work: () => Promise<T>, bytesOf: (result: T) => number): Promise<T> {
    const startedAt = performance.now();
    const tell = (bytes: number, ok: boolean) => onRequest(operation, bytes, (performance.now() - startedAt) / 1000, ok);
    let result: T;
    try {
      result = await work();
    } catch (error) {
      tell(0, false);
      throw error;
    }
    tell(bytesOf(result), true);
    return result;
  }
  const none = () => 0;

  async function* list(prefix: string) {
    const startedAt = performance.now();
    let ok = false;
    try {
      for await (const found of store.list(prefix)) {
        // A reader that stops here has been served well; a fault of the store comes from the loop itself.
        ok = true;
        yield found;
        ok = false;
      }
      ok = true;
    } finally {
      onRequest('list', 0, (performance.now() - startedAt) / 1000, ok);
    }
  }

  return {
    kind: store.kind,
    put: (key, source: PutSource, options) =>
      counted(
        'put',
        () => store.put(key, source, options),
        (bytes) => bytes,
      ),
    get: (key, options) =>
      counted(
        'get',
        () => store.get(key, options),
        (bytes) => bytes.length,
      ),
    head: (key) => counted('head', () => store.head(key), none),
    // No request is made.
    presignGet:
      store.presignGet && ((key, lifeSeconds) => (store.presignGet as NonNullable<PackStore['presignGet']>)(key, lifeSeconds)),
    delete: (key) => counted('delete', () => store.delete(key), none),
    list,
    removeUnfinished: (olderThanSeconds) => counted('remove-unfinished', () => store.removeUnfinished(olderThanSeconds), none),
    check: () => counted('check', () => store.check(), none),
    close: () => store.close(),
  };
}
