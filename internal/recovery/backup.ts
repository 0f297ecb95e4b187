import { createHash, randomUUID } from 'node:crypto';
import { failpoint, PackhouseError } from '../base/mod.ts';
import type { Catalog } from '../catalog/mod.ts';
import { type PackStore, sidecarKey } from '../packstore/mod.ts';
import { type RebuildReport, type RebuildSettings, rebuild } from './rebuild.ts';
import { writeFullSnapshot } from './snapshot.ts';
import { readSnapshot, SNAPSHOTS } from './snapshot-format.ts';

const PIECE_BYTES = 4 << 20;
/** A pin is renewed while crates are copied; of a backup that was killed it runs out. */
const PIN_SECONDS = 6 * 3600;
const PIN_EVERY_CRATES = 100;
/** A snapshot is there until all that it names is: what a backup was before it was begun again stays whole. */
const UNFINISHED = 'unfinished/';
const SIDECARS = ['idx', 'manifest'] as const;

export interface BackupSettings {
  readonly catalog: Catalog;
  readonly store: PackStore;
  /** Where the backup goes; what an earlier one left there is used again. */
  readonly target: PackStore;
  readonly onProgress?: (text: string) => void;
  readonly signal?: AbortSignal;
}

export interface BackupReport {
  readonly snapshot: string;
  /** The last push in it. */
  readonly push: number;
  readonly crates: number;
  readonly copied: number;
  readonly copiedBytes: number;
}

/**
 * Copies the catalog and every crate that it names to another store, while pushes go on: what is backed up is the catalog at one moment, and packs
 * never change. A pin keeps what that moment names from being deleted meanwhile. An interrupted backup is begun again and copies the rest.
 * @throws PackhouseError `copy-differs`, `store-missing`
 */
export async function backup(settings: BackupSettings): Promise<BackupReport> {
  const { catalog, store, target, signal } = settings;
  const pin = randomUUID();
  await catalog.snapshots.pin(pin, 'backup', PIN_SECONDS);
  try {
    const { key: draft, head } = await writeFullSnapshot(catalog, target, UNFINISHED, signal);
    await failpoint('backup.snapshot-written');
    const key = `${SNAPSHOTS}${draft.slice(UNFINISHED.length)}`;
    const crates = await cratesOf(target, draft);
    const report = { snapshot: key, push: head.push, crates: crates.length, copied: 0, copiedBytes: 0 };
    for (const [i, crateKey] of crates.entries()) {
      settings.onProgress?.(`${i + 1} of ${crates.length}: ${crateKey}`);
      if (i % PIN_EVERY_CRATES === 0) await catalog.snapshots.pin(pin, 'backup', PIN_SECONDS);
      const copiedBytes = await copyCrate(store, target, crateKey, signal);
      await failpoint('backup.crate-copied');
      if (copiedBytes > 0) report.copied++;
      report.copiedBytes += copiedBytes;
    }
    await copyObject(target, draft, target, key, signal);
    await failpoint('backup.snapshot-placed');
    await removeOtherSnapshots(target, key);
    return report;
  } finally {
    await catalog.snapshots.unpin(pin);
  }
}

/** The crates of live packs of a full snapshot. */
async function cratesOf(store: PackStore, key: string): Promise<string[]> {
  const crates = new Set<string>();
  let columns: readonly string[] = [];
  let isPacks = false;
  for await (const part of readSnapshot(store, key)) {
    if (part.kind === 'section') {
      isPacks = part.table === 'packs';
      columns = part.columns;
    } else if (part.kind === 'rows' && isPacks) {
      for (const line of part.bytes.toString('latin1').split('\n')) {
        if (line === '') continue;
        const fields = line.split('\t');
        const crateKey = fields[columns.indexOf('crate_key')]!;
        if (crateKey !== '\\N' && fields[columns.indexOf('state')] === 'live') crates.add(crateKey);
      }
    }
  }
  return [...crates].sort();
}

/** Copies a crate and its sidecars, as far as they are not there; the crate last, so that one that is there is complete. Bytes copied. */
async function copyCrate(from: PackStore, to: PackStore, crateKey: string, signal?: AbortSignal): Promise<number> {
  const found = await from.head(crateKey);
  // Keys are never used again and a put is all or nothing: what is there is what was copied.
  if (found !== null && (await to.head(crateKey))?.lengthBytes === found.lengthBytes) return 0;
  let copiedBytes = 0;
  for (const extension of SIDECARS) {
    const key = sidecarKey(crateKey, extension);
    if ((await from.head(key)) !== null) copiedBytes += await copyObject(from, key, to, key, signal);
  }
  return copiedBytes + (await copyObject(from, crateKey, to, crateKey, signal));
}

async function copyObject(from: PackStore, fromKey: string, to: PackStore, key: string, signal?: AbortSignal): Promise<number> {
  const found = await from.head(fromKey);
  if (found === null) throw new PackhouseError('store-missing', `object ${fromKey} is not in the store`, { key: fromKey });
  const { lengthBytes } = found;
  const read = createHash('sha256');
  const options = signal === undefined ? {} : { signal };
  const stored = await to.put(
    key,
    pieces(from, fromKey, lengthBytes, (bytes) => read.update(bytes)),
    options,
  );
  const written = createHash('sha256');
  for await (const _ of pieces(to, key, stored, (bytes) => written.update(bytes))) signal?.throwIfAborted();
  if (stored === lengthBytes && written.digest().equals(read.digest())) return stored;
  await to.delete(key);
  throw new PackhouseError('copy-differs', `${key} did not arrive as it was sent`, { key });
}

async function* pieces(
  store: PackStore,
  key: string,
  lengthBytes: number,
  onBytes: (bytes: Buffer) => void,
): AsyncGenerator<Buffer> {
  for (let at = 0; at < lengthBytes; at += PIECE_BYTES) {
    const bytes = await store.get(key, { offset: at, lengthBytes: Math.min(PIECE_BYTES, lengthBytes - at) });
    onBytes(bytes);
    yield bytes;
  }
}

/** A backup has one snapshot: crates that only an older one named are left where they are. */
async function removeOtherSnapshots(store: PackStore, kept: string): Promise<void> {
  for (const prefix of [SNAPSHOTS, UNFINISHED])
    for await (const { key } of store.list(prefix)) if (key !== kept) await store.delete(key);
}

export interface RestoreSettings extends Omit<RebuildSettings, 'adopt' | 'reason'> {
  /** Where the backup is. */
  readonly source: PackStore;
}

export interface RestoreReport extends RebuildReport {
  readonly copied: number;
  readonly copiedBytes: number;
}

/**
 * Copies a backup into an empty store and makes the catalog of it; every pack is read from end to end on the way. An interrupted copy is begun
 * again and copies the rest.
 * @throws PackhouseError `store-not-empty`, `backup-missing`, and what `rebuild` throws
 */
export async function restore(settings: RestoreSettings): Promise<RestoreReport> {
  const { source, store, signal } = settings;
  const keys: { readonly key: string; readonly lengthBytes: number }[] = [];
  for await (const { key, lengthBytes } of source.list('')) if (!key.startsWith(UNFINISHED)) keys.push({ key, lengthBytes });
  if (!keys.some(({ key }) => key.startsWith(SNAPSHOTS)))
    throw new PackhouseError('backup-missing', 'there is no backup: no snapshot of a catalog');
  // The store that is restored into makes checksums of what it is given.
  const sums = keys.flatMap(({ key }) => (key.endsWith('.pack') ? [sidecarKey(key, 'sums')] : []));
  await assertNothingElse(store, new Set([...keys.map(({ key }) => key), ...sums]));
  const counts = { copied: 0, copiedBytes: 0 };
  for (const { key, lengthBytes } of keys) {
    if ((await store.head(key))?.lengthBytes === lengthBytes) continue;
    settings.onProgress?.(key);
    counts.copiedBytes += await copyObject(source, key, store, key, signal);
    counts.copied++;
    await failpoint('restore.object-copied');
  }
  return { ...(await rebuild({ ...settings, adopt: false, reason: 'restore' })), ...counts };
}

/** What an earlier try has copied may be there. */
async function assertNothingElse(store: PackStore, expected: ReadonlySet<string>): Promise<void> {
  for await (const { key } of store.list('')) {
    if (!expected.has(key))
      throw new PackhouseError('store-not-empty', `the store holds ${key}: restore into an empty one`, { key });
  }
}
