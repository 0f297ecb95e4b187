import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { deflate } from 'node:zlib';
import { PackhouseError } from '../base/mod.ts';
import type { Pack } from '../catalog/mod.ts';
import {
  Deflater,
  ENTRY_HEADER_BYTES_MAX,
  ENTRY_OFS_DELTA,
  ENTRY_REF_DELTA,
  emptyEntryHeader,
  encodeEntryHeader,
  encodePackHeader,
  readEntryHeader,
} from '../packformat/mod.ts';
import { type ByteCache, breath, type Lent } from '../packread/mod.ts';
import type { RepositoryView } from '../reach/mod.ts';
import type { AnswerRecorder } from './answers.ts';
import { type Layout, type Part, placeOf } from './layout.ts';
import type { EntryList } from './layout-part.ts';
import { type ReadOptions, rangePieces } from './range-pieces.ts';
import { chunkedEntries } from './write-chunked.ts';

/** So many spans are fetched ahead of the one being written, as long as they come to no more than two pieces. */
const SPANS_AHEAD = 8;

/** Up to this size deflating takes about a millisecond; a longer deflation goes to another thread. */
const deflater = new Deflater(64 << 10);
const deflated = promisify<Buffer, Buffer>(deflate);
/** A longer entry is not kept: it would take the place of many. */
const KEPT_BYTES_MAX = 1 << 20;

export interface WriteOptions extends ReadOptions {
  readonly ofsDelta: boolean;
  /** Told of each object that is compressed anew instead of copied. */
  readonly onExpanded: () => void;
  /** Entries that were made for answers before: the next commit's are mostly the same. */
  readonly expanded?: ByteCache;
  /** Told how the pack is put together, where that is to be kept. */
  readonly recorder?: AnswerRecorder | null;
}

/** The pack of an answer, piece by piece: header, parts in order, checksum. */
export async function* packPieces(view: RepositoryView, layout: Layout, options: WriteOptions): AsyncGenerator<Buffer> {
  const [only] = layout.parts;
  if (layout.parts.length === 1 && only!.kind === 'verbatim') {
    // One whole pack, without chunked blobs or with none of them: header and checksum are the stored ones.
    yield* readRange(view, only!.pack, 0, only!.pack.lengthBytes, options);
    return;
  }
  const hash = createHash(view.format);
  const header = encodePackHeader(layout.objectCount);
  options.recorder?.made(header);
  hash.update(header);
  yield header;
  const writer = new EntryWriter(view, layout, options);
  for (const part of layout.parts) {
    for await (const piece of partPieces(view, part, writer, options)) {
      hash.update(piece);
      yield piece;
    }
  }
  const trailer = hash.digest();
  options.recorder?.made(trailer);
  yield trailer;
}

function partPieces(view: RepositoryView, part: Part, writer: EntryWriter, options: WriteOptions): AsyncIterable<Buffer> {
  switch (part.kind) {
    case 'verbatim':
      return readRange(view, part.pack, 12, part.pack.lengthBytes - view.pool.graph.oidBytes, options);
    case 'entries':
      return writer.entries(part.pack, part.entries);
    case 'chunked':
      options.recorder?.giveUp();
      return chunkedEntries(view.pool.reader.chunked, part, options);
  }
}

/** A range of a pack, as it is stored. */
function readRange(view: RepositoryView, pack: Pack, from: number, to: number, options: WriteOptions): AsyncGenerator<Buffer> {
  options.recorder?.stretch(pack, from, to - from);
  return rangePieces(view.pool.bytes, view.pool.poolId, pack, from, to, options);
}

interface Span {
  readonly first: number;
  readonly last: number;
  readonly offset: number;
  readonly lengthBytes: number;
}

/** Copies chosen entries of packs; only what no longer fits is written anew: headers of deltas, or the whole object. */
class EntryWriter {
  readonly #view: RepositoryView;
  readonly #layout: Layout;
  readonly #options: WriteOptions;
  readonly #header = emptyEntryHeader();

  constructor(view: RepositoryView, layout: Layout, options: WriteOptions) {
    this.#view = view;
    this.#layout = layout;
    this.#options = options;
  }

  async *entries(pack: Pack, entries: EntryList): AsyncGenerator<Buffer> {
    /** How far each entry has moved: distances between entries that moved alike stay right. */
    const moved = new Float64Array(entries.offsets.length);
    let written = 0;
    const ahead: { readonly span: Span; readonly read: Promise<Lent> | null }[] = [];
    let next = 0;
    let aheadBytes = 0;
    for (;;) {
      this.#options.signal.throwIfAborted();
      const pieceBytes = this.#options.pieceBytes();
      while (
        next < entries.offsets.length &&
        (ahead.length === 0 || (ahead.length <= SPANS_AHEAD && aheadBytes < 2 * pieceBytes))
      ) {
        const span = spanFrom(entries, next, pieceBytes);
        ahead.push({ span, read: this.#readAhead(pack, span, pieceBytes) });
        aheadBytes += span.lengthBytes;
        next = span.last + 1;
      }
      const one = ahead.shift();
      if (one === undefined) return;
      const { span, read } = one;
      aheadBytes -= span.lengthBytes;
      if (read === null) {
        for await (const piece of this.#largeEntry(pack, entries, span, moved, written)) {
          written += piece.length;
          yield piece;
        }
        continue;
      }
      const { bytes, release } = await read;
      const copy = new SpanCopy(pack, span.offset, bytes, this.#options.recorder ?? null);
      for (let i = span.first; i <= span.last; i++) {
        const pause = breath();
        if (pause) await pause;
        const at = entries.offsets[i]! - span.offset;
        const end = at + entries.lengths[i]!;
        moved[i] = written + copy.placeOf(at) - entries.offsets[i]!;
        const head = this.#newHead(pack, entries, i, bytes, at, end, moved);
        if (head === 'as-it-is') continue;
        if (head === null) copy.replace(at, end, await this.#expanded(entries, i));
        else copy.replace(at, at + this.#header.headerBytes, head);
      }
      const whole = copy.finish();
      written += whole.length;
      yield whole;
      if (this.#options.forgetsPieces) release();
    }
  }

  /** The bytes of a span that will be needed soon; null for one that is too large to be held. */
  #readAhead(pack: Pack, span: Span, pieceBytes: number): Promise<Lent> | null {
    if (span.lengthBytes > 2 * pieceBytes) return null;
    const read = this.#read(pack, span);
    read.catch(() => {});
    return read;
  }

  async #read(pack: Pack, { offset, lengthBytes }: Span): Promise<Lent> {
    const { pool } = this.#view;
    const { views, release } = await pool.bytes.lend(pool.poolId, pack, offset, lengthBytes, this.#options.signal);
    return { bytes: views.length === 1 ? views[0]! : Buffer.concat(views, lengthBytes), release };
  }

  /** What takes the place of an entry's header; null when the object must be written whole. #header holds the entry's. */
  #newHead(
    pack: Pack,
    entries: EntryList,
    i: number,
    bytes: Buffer,
    at: number,
    end: number,
    moved: Float64Array,
  ): Buffer | 'as-it-is' | null {
    const header = this.#header;
    if (!readEntryHeader(bytes, at, end, this.#view.pool.graph.oidBytes, header)) throw corrupt(pack, entries.offsets[i]!);
    if (header.type <= 4) return 'as-it-is';
    if (header.type === ENTRY_REF_DELTA) return this.#layout.mayBase(pack, bytes, header.baseAt) ? 'as-it-is' : null;
    return this.#deltaHead(entries, i, moved);
  }

  /** What stands before the zlib stream of the `ofs` delta that #header holds; null when its base is not in this part. */
  #deltaHead(entries: EntryList, i: number, moved: Float64Array): Buffer | 'as-it-is' | null {
    const { distance, size } = this.#header;
    const width = this.#view.pool.graph.oidBytes;
    const base = placeOf(entries.offsets, entries.offsets[i]! - distance);
    if (base < 0) {
      const thin = entries.thinBase?.(entries.offsets[i]! - distance) ?? null;
      return thin === null ? null : encodeEntryHeader(0, size, thin);
    }
    if (!this.#options.ofsDelta) return encodeEntryHeader(0, size, entries.oids.subarray(base * width, (base + 1) * width));
    const now = distance + moved[i]! - moved[base]!;
    return now === distance ? 'as-it-is' : encodeEntryHeader(0, size, now);
  }

  /** The object of an entry as one that stands alone. */
  async #expanded(entries: EntryList, i: number): Promise<Buffer> {
    const { pool } = this.#view;
    const { expanded, onExpanded, signal } = this.#options;
    onExpanded();
    const width = pool.graph.oidBytes;
    const oid = entries.oids.subarray(i * width, (i + 1) * width);
    const key = `${pool.poolId} ${oid.toString('hex')}`;
    const known = expanded?.get(key);
    if (known !== undefined) return known;
    const object = await pool.read(oid, signal);
    if (object === null) throw new PackhouseError('object-missing', `object ${oid.toString('hex')} is gone`);
    const { kind, data } = object;
    const stream = data.length <= deflater.bytesMax ? deflater.deflate(data) : await deflated(data);
    const entry = Buffer.concat([encodeEntryHeader(kind, data.length), stream]);
    if (entry.length <= KEPT_BYTES_MAX) expanded?.set(key, entry);
    return entry;
  }

  /** One entry too large to be held: its head is looked at, the rest is streamed. */
  async *#largeEntry(pack: Pack, entries: EntryList, span: Span, moved: Float64Array, written: number): AsyncGenerator<Buffer> {
    const { pool } = this.#view;
    const i = span.first;
    const end = span.offset + span.lengthBytes;
    moved[i] = written - span.offset;
    const bytes = await pool.bytes.read(
      pool.poolId,
      pack,
      span.offset,
      Math.min(ENTRY_HEADER_BYTES_MAX, span.lengthBytes),
      this.#options.signal,
    );
    const header = this.#header;
    if (!readEntryHeader(bytes, 0, bytes.length, pool.graph.oidBytes, header)) throw corrupt(pack, span.offset);
    let head: Buffer | 'as-it-is' | null = 'as-it-is';
    if (header.type === ENTRY_OFS_DELTA) head = this.#deltaHead(entries, i, moved);
    else if (header.type === ENTRY_REF_DELTA && !this.#layout.mayBase(pack, bytes, header.baseAt)) head = null;
    const { recorder } = this.#options;
    if (head === null) {
      const piece = await this.#expanded(entries, i);
      recorder?.made(piece);
      yield piece;
    } else if (head === 'as-it-is') {
      yield* readRange(this.#view, pack, span.offset, end, this.#options);
    } else {
      recorder?.made(head);
      yield head;
      yield* readRange(this.#view, pack, span.offset + header.headerBytes, end, this.#options);
    }
  }
}

/** A copy of a span in which some stretches are others. Nothing is copied as long as none is. */
class SpanCopy {
  readonly #pack: Pack;
  readonly #offset: number;
  readonly #bytes: Buffer;
  readonly #recorder: AnswerRecorder | null;
  #out: Buffer | null = null;
  #used = 0;
  /** From here on the bytes are to be copied. */
  #from = 0;

  constructor(pack: Pack, offset: number, bytes: Buffer, recorder: AnswerRecorder | null) {
    this.#pack = pack;
    this.#offset = offset;
    this.#bytes = bytes;
    this.#recorder = recorder;
  }

  /** Where a byte of the span comes to stand, if nothing before it is replaced any more. */
  placeOf(at: number): number {
    return this.#used + at - this.#from;
  }

  /** Puts a piece in the place of `[at, end)`, which is behind the places before. */
  replace(at: number, end: number, piece: Buffer): void {
    const out = this.#room(at - this.#from + piece.length);
    this.#recorder?.stretch(this.#pack, this.#offset + this.#from, at - this.#from);
    this.#recorder?.made(piece);
    this.#used += this.#bytes.copy(out, this.#used, this.#from, at);
    this.#used += piece.copy(out, this.#used);
    this.#from = end;
  }

  finish(): Buffer {
    this.#recorder?.stretch(this.#pack, this.#offset + this.#from, this.#bytes.length - this.#from);
    if (this.#out === null) return this.#bytes;
    const out = this.#room(this.#bytes.length - this.#from);
    this.#used += this.#bytes.copy(out, this.#used, this.#from);
    return out.subarray(0, this.#used);
  }

  #room(more: number): Buffer {
    const needed = this.#used + more;
    if (this.#out === null) this.#out = Buffer.allocUnsafe(Math.max(needed, Math.ceil(this.#bytes.length * 1.1)));
    if (needed > this.#out.length) {
      const wider = Buffer.allocUnsafe(Math.max(needed, this.#out.length * 2));
      this.#out.copy(wider, 0, 0, this.#used);
      this.#out = wider;
    }
    return this.#out;
  }
}

function corrupt(pack: Pack, offset: number): PackhouseError {
  return new PackhouseError('pack-corrupt', `pack ${pack.id} at offset ${offset}: entry header is cut`, {
    pack: pack.id,
    offset,
  });
}

/** Neighbouring entries from one on that are read together; a large entry stands alone. */
function spanFrom(entries: EntryList, first: number, bytesMax: number): Span {
  const offset = entries.offsets[first]!;
  let end = offset + entries.lengths[first]!;
  let last = first;
  while (
    last + 1 < entries.offsets.length &&
    entries.offsets[last + 1] === end &&
    end + entries.lengths[last + 1]! - offset <= bytesMax
  ) {
    last++;
    end += entries.lengths[last]!;
  }
  return { first, last, offset, lengthBytes: end - offset };
}
