import { hash } from 'node:crypto';
import { kindName, type ObjectFormat } from '../object/mod.ts';
import { CheckedSha1, Sha1Batch } from '../sha1dc/mod.ts';
import type { EntryTable } from './entry-table.ts';
import { PackError } from './errors.ts';
import { beginOid, writeObjectHeader, writeOid } from './hash-slab.ts';
import type { ObjectVisitor } from './object-visitor.ts';

/** The name of an object that is streamed: it has taken the object's header. */
export interface StreamedName {
  update(bytes: Buffer): void;
  /** The raw oid. @throws PackError */
  digest(): Buffer;
}

let batch: Sha1Batch | null = null;

/** One is enough for a thread: nothing waits in it while others work. */
function threadBatch(): Sha1Batch {
  batch ??= new Sha1Batch();
  return batch;
}

/**
 * Names the objects of one pack, writes their oids into its table and shows them to the visitor, in the order in which they came.
 *
 * With a look out for SHA-1 collisions, that happens some objects later: eight messages that are hashed at a time cost two thirds of eight
 * in turn. Whoever needs an oid, or returns to others of this thread, calls `flush` first.
 */
export class ObjectNames {
  readonly #format: ObjectFormat;
  readonly #visitor: ObjectVisitor;
  readonly #entries: () => EntryTable;
  readonly #batch: Sha1Batch | null;
  /** Of each message in the batch. */
  readonly #indexes: number[] = [];
  readonly #kinds: number[] = [];
  readonly #seen: boolean[] = [];

  constructor(format: ObjectFormat, detectCollisions: boolean, entries: () => EntryTable, visitor: ObjectVisitor) {
    this.#format = format;
    this.#entries = entries;
    this.#visitor = visitor;
    this.#batch = detectCollisions && format === 'sha1' ? threadBatch() : null;
  }

  /** Names the object at `buffer[at]`, before which there is HEADER_ROOM; one that `isSeen` is not shown to the visitor. @throws PackError, maybe about an earlier object */
  take(index: number, kind: number, buffer: Buffer, at: number, size: number, isSeen = false): void {
    const entries = this.#entries();
    if (this.#batch === null) {
      writeOid(this.#format, kind, buffer, at, size, entries.oids, index * entries.oidBytes);
      if (!isSeen) this.#visitor.visit(index, kind, buffer, at, size);
      return;
    }
    const start = writeObjectHeader(kind, buffer, at, size);
    if (!Sha1Batch.holds(at + size - start)) {
      this.flush();
      const oid = checked(new CheckedSha1().update(buffer.subarray(start, at + size)));
      oid.copy(entries.oids, index * entries.oidBytes);
      if (!isSeen) this.#visitor.visit(index, kind, buffer, at, size);
      return;
    }
    if (!this.#batch.add(buffer, start, at + size)) {
      this.flush();
      this.#batch.add(buffer, start, at + size);
    }
    this.#indexes.push(index);
    this.#kinds.push(kind);
    this.#seen.push(isSeen);
  }

  /** Whether the object waits to be named. */
  waits(index: number): boolean {
    return this.#indexes.includes(index);
  }

  /** Names and shows what waits. @throws PackError */
  flush(): void {
    const batch = this.#batch;
    if (batch === null || this.#indexes.length === 0) return;
    try {
      this.#show(batch);
    } finally {
      this.clear();
    }
  }

  #show(batch: Sha1Batch): void {
    const entries = this.#entries();
    const found = batch.run();
    if (found >= 0) throw collisionAttack(hash('sha1', batch.memory.subarray(batch.start(found), batch.end(found))));
    for (const [message, index] of this.#indexes.entries()) {
      batch.copyDigest(message, entries.oids, index * entries.oidBytes);
      if (this.#seen[message]) continue;
      const size = entries.sizes[index]!;
      this.#visitor.visit(index, this.#kinds[message]!, batch.memory, batch.end(message) - size, size);
    }
  }

  /** Forgets what waits: the pack is given up. */
  clear(): void {
    this.#batch?.clear();
    this.#indexes.length = 0;
    this.#kinds.length = 0;
    this.#seen.length = 0;
  }

  /** Names an object of `size` bytes that is given in parts. */
  begin(kind: number, size: number): StreamedName {
    if (this.#batch === null) return beginOid(this.#format, kind, size);
    const name = new CheckedSha1().update(Buffer.from(`${kindName(kind)} ${size}\0`));
    return { update: (bytes) => void name.update(bytes), digest: () => checked(name) };
  }
}

function checked(name: CheckedSha1): Buffer {
  const oid = name.digest();
  if (name.isAttack) throw collisionAttack(oid.toString('hex'));
  return oid;
}

/** In the words of git. */
function collisionAttack(oid: string): PackError {
  return new PackError(`SHA-1 appears to be part of a collision attack: ${oid}`, { oid });
}
