import { missing, short } from './faults.ts';
import { assertKey, assertPrefix, assertRange } from './keys.ts';
import { cutParts } from './source.ts';
import type { GetOptions, PackStore, PutOptions, PutSource, StoredObject } from './store.ts';

const PART_BYTES = 1024 * 1024;

interface Kept {
  readonly bytes: Buffer;
  readonly modifiedAt: Date;
}

/** A store that lives as long as its process: for tests and for the inside of a faulty store. */
export function createMemoryStore(): PackStore {
  const objects = new Map<string, Kept>();
  const described = (key: string, kept: Kept): StoredObject => ({
    key,
    lengthBytes: kept.bytes.length,
    modifiedAt: kept.modifiedAt,
  });

  async function put(key: string, source: PutSource, { signal }: PutOptions = {}): Promise<number> {
    assertKey(key);
    const parts: Buffer[] = [];
    for await (const { bytes } of cutParts(source, { partSizeBytes: PART_BYTES, signal })) parts.push(bytes);
    signal?.throwIfAborted();
    // `concat` copies, so that a caller who goes on using its array cannot change what is stored.
    const bytes = Buffer.concat(parts);
    objects.set(key, { bytes, modifiedAt: new Date() });
    return bytes.length;
  }

  async function get(key: string, { offset, lengthBytes, signal }: GetOptions): Promise<Buffer> {
    assertKey(key);
    assertRange(key, offset, lengthBytes);
    signal?.throwIfAborted();
    const kept = objects.get(key);
    if (kept === undefined) throw missing(key);
    if (offset + lengthBytes > kept.bytes.length) throw short(key, offset, lengthBytes, kept.bytes.length);
    const own = Buffer.allocUnsafeSlow(lengthBytes);
    kept.bytes.copy(own, 0, offset, offset + lengthBytes);
    return own;
  }

  async function head(key: string): Promise<StoredObject | null> {
    assertKey(key);
    const kept = objects.get(key);
    return kept === undefined ? null : described(key, kept);
  }

  async function* list(prefix: string): AsyncGenerator<StoredObject> {
    assertPrefix(prefix);
    for (const key of [...objects.keys()].filter((name) => name.startsWith(prefix)).sort()) {
      const kept = objects.get(key);
      if (kept !== undefined) yield described(key, kept);
    }
  }

  return {
    kind: 'memory',
    put,
    get,
    head,
    list,
    delete: async (key) => {
      assertKey(key);
      objects.delete(key);
    },
    removeUnfinished: async () => 0,
    check: async () => {},
    close: async () => {},
  };
}
