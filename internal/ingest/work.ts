import { closeSync, fstatSync, openSync, writeSync } from 'node:fs';
import type { ObjectFormat } from '../object/mod.ts';
import { type CheckSeverities, ObjectChecker } from './check.ts';
import type { PackLimits } from './limits.ts';
import { PackIngest } from './pack-ingest.ts';
import { MemorySource, type PackSource, SpoolSource } from './pack-source.ts';
import type { ExternalBase } from './resolve.ts';
import { rewriteWithout } from './rewrite.ts';
import type { VerifiedPack } from './verified-pack.ts';

export interface WorkOptions {
  readonly format: ObjectFormat;
  readonly limits: PackLimits;
  readonly severities: CheckSeverities;
}

/**
 * The synchronous work on one incoming pack, told step by step so that it runs inline on a small pack and in a worker on a large one.
 * The pack's bytes are in memory or in a spool file that is still growing.
 */
export class PackWork {
  readonly #options: WorkOptions;
  readonly #keepTrees: boolean;
  #source: PackSource;
  #ingest: PackIngest;
  #path: string | null;
  #fds: number[] = [];

  constructor(where: { readonly bytes: Buffer } | { readonly path: string }, options: WorkOptions) {
    this.#options = options;
    this.#keepTrees = 'bytes' in where;
    this.#path = 'path' in where ? where.path : null;
    this.#source = 'bytes' in where ? new MemorySource(where.bytes) : this.#open(where.path);
    this.#ingest = this.#begin();
  }

  #open(path: string): SpoolSource {
    const fd = openSync(path, 'r');
    this.#fds.push(fd);
    return new SpoolSource(fd);
  }

  #begin(): PackIngest {
    const { format, limits, severities } = this.#options;
    return new PackIngest(this.#source, { format, limits, checker: new ObjectChecker(format, severities), keepTrees: this.#keepTrees });
  }

  /** Takes in what the spool file has got; true when the whole pack has been scanned. */
  advance(available: number, final: boolean): boolean {
    if (this.#source instanceof SpoolSource) this.#source.grow(available);
    return this.#ingest.advance(final);
  }

  /** The raw oids of the bases that the pack lacks. */
  resolve(): Buffer {
    return this.#ingest.resolve();
  }

  addBase(base: ExternalBase): void {
    this.#ingest.addBase(base);
  }

  /** @throws PackError */
  finish(): VerifiedPack {
    return this.#ingest.finish();
  }

  /**
   * Takes out entries whose oid an earlier entry of the pack has, after `finish`: the pack as it is to be kept, in memory or in a file
   * beside the spool file. Null when there are none. Work goes on with the new pack: `resolve`, bases and `finish` once more.
   */
  dropDuplicates(): Buffer | string | null {
    const { duplicates } = this.#ingest;
    if (duplicates.length === 0) return null;
    const rewritten = this.#rewrite(duplicates);
    this.#source = typeof rewritten === 'string' ? this.#openWhole(rewritten) : new MemorySource(rewritten);
    this.#ingest = this.#begin();
    this.#ingest.advance(true);
    return rewritten;
  }

  /** In memory: the pack's trees by hex oid, for comparing them with stored ones. */
  get trees(): ReadonlyMap<string, Buffer> | null {
    return this.#keepTrees ? this.#ingest.trees : null;
  }

  #openWhole(path: string): SpoolSource {
    const source = this.#open(path);
    source.grow(fstatSync(this.#fds.at(-1)!).size);
    return source;
  }

  #rewrite(duplicates: Uint32Array): Buffer | string {
    const { entries } = this.#ingest;
    if (this.#path === null) {
      const parts: Buffer[] = [];
      rewriteWithout(duplicates, entries, this.#source, this.#options.format, (bytes) => parts.push(bytes));
      return Buffer.concat(parts);
    }
    const path = `${this.#path}.dedup`;
    const fd = openSync(path, 'w', 0o600);
    try {
      rewriteWithout(duplicates, entries, this.#source, this.#options.format, (bytes) => writeSync(fd, bytes));
    } finally {
      closeSync(fd);
    }
    return path;
  }

  close(): void {
    for (const fd of this.#fds) closeSync(fd);
    this.#fds = [];
  }
}
