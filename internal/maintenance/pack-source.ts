import { PackhouseError } from '../base/mod.ts';
import type { Pack } from '../catalog/mod.ts';
import type { ObjectFormat } from '../object/mod.ts';
import { ObjectReader, PoolIndex, type StoredObject } from '../packread/mod.ts';
import type { RewriteSettings } from './settings.ts';

const PIECE_BYTES = 4 << 20;

/** Bytes of a live pack from end to end, past the cache, at the pace of maintenance. */
export async function* packPieces(
  { catalog, store, throttle }: RewriteSettings,
  poolId: number,
  pack: Pack,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void> {
  if (pack.tier === 'tail') {
    const bytes = (await catalog.tailBytes(poolId, [pack.id])).get(pack.id);
    if (bytes === undefined) throw new PackhouseError('pack-gone', `tail pack ${pack.id} is gone`, { pack: pack.id });
    await throttle.take(bytes.length, signal);
    yield bytes;
    return;
  }
  for (let at = 0; at < pack.lengthBytes; at += PIECE_BYTES) {
    const lengthBytes = Math.min(PIECE_BYTES, pack.lengthBytes - at);
    await throttle.take(lengthBytes, signal);
    yield await store.get(pack.crateKey!, { offset: pack.extentOffset + at, lengthBytes, signal });
  }
}

/** Objects of a pool that lie outside the packs that are rewritten. Loads what it needs, when it is needed. */
export class OutsideObjects {
  readonly #settings: RewriteSettings;
  readonly #poolId: number;
  readonly #format: ObjectFormat;
  readonly #inputs: ReadonlySet<number>;
  #index: Promise<PoolIndex> | null = null;
  #reader: ObjectReader | null = null;

  constructor(settings: RewriteSettings, poolId: number, format: ObjectFormat, inputs: ReadonlySet<number>) {
    this.#settings = settings;
    this.#poolId = poolId;
    this.#format = format;
    this.#inputs = inputs;
  }

  /** An object of the pool, whole; null when the pool has none. */
  async read(oid: Buffer, signal: AbortSignal): Promise<StoredObject | null> {
    const index = await this.#open();
    const [location] = await index.find(oid);
    if (!location) return null;
    this.#reader ??= new ObjectReader(this.#settings.bytes, index);
    return this.#reader.read(location, signal);
  }

  /** Whether a pack that stays has one of the objects too. */
  async holdAny(oids: Buffer): Promise<boolean> {
    const index = await this.#open();
    const others = (pack: Pack): boolean => !this.#inputs.has(pack.id);
    if (![...index.packs.values()].some(others)) return false;
    return (await index.among(oids, others)).some((location) => location !== null);
  }

  #open(): Promise<PoolIndex> {
    this.#index ??= (async () => {
      const index = new PoolIndex(this.#settings.catalog, this.#poolId, this.#format);
      for (const pack of await this.#settings.catalog.packs(this.#poolId, null)) index.add(pack);
      return index;
    })();
    return this.#index;
  }
}
