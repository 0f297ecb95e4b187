import { appendFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { crc32, deflate } from 'node:zlib';
import { encodeEntryHeader } from '../packformat/mod.ts';
import type { ExternalBase } from './external-base.ts';
import type { PackPlace } from './incoming-reader.ts';
import { makeSpoolFolder } from './spool-folders.ts';

const deflated = promisify(deflate);

/** Bytes of entries that are held before they go to a file. */
const HELD_BYTES_MAX = 8 << 20;

/** One delta base from outside a thin pack as a whole pack entry, to be appended so that the pack stands alone. */
export interface AppendedEntry {
  readonly oid: Buffer;
  readonly kind: number;
  readonly sizeBytes: number;
  readonly lengthBytes: number;
  readonly crc: number;
}

/** The entries of a thin pack's outside bases: in memory while they are small, then in a file in a folder of its own. */
export class BaseEntries {
  readonly entries: AppendedEntry[] = [];
  readonly #parent: string;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #folder: string | null = null;

  constructor(parent: string) {
    this.#parent = parent;
  }

  async add(base: ExternalBase): Promise<void> {
    const bytes = Buffer.concat([encodeEntryHeader(base.kind, base.data.length), await deflated(base.data)]);
    this.entries.push({
      oid: base.oid,
      kind: base.kind,
      sizeBytes: base.data.length,
      lengthBytes: bytes.length,
      crc: crc32(bytes),
    });
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
    if (this.#heldBytes > HELD_BYTES_MAX) await this.#spill();
  }

  async #spill(): Promise<void> {
    this.#folder ??= await makeSpoolFolder(this.#parent);
    await appendFile(this.#path(this.#folder), Buffer.concat(this.#held), { mode: 0o600 });
    this.#held = [];
    this.#heldBytes = 0;
  }

  #path(folder: string): string {
    return join(folder, 'bases');
  }

  /** Where the entries are, once all have been added. */
  async place(): Promise<PackPlace> {
    if (this.#folder === null) return { kind: 'memory', bytes: Buffer.concat(this.#held) };
    await this.#spill();
    return { kind: 'spool', path: this.#path(this.#folder) };
  }

  async dispose(): Promise<void> {
    if (this.#folder !== null) await rm(this.#folder, { recursive: true, force: true });
  }
}
