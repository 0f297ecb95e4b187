import { hash } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import {
  KIND_BLOB,
  KIND_COMMIT,
  KIND_TREE,
  kindName,
  MODE_FILE,
  MODE_TREE,
  type TreeEntry,
  treeEntries,
  zeroOid,
} from '../internal/object/mod.ts';
import { encodeEntryHeader, encodePackHeader } from '../internal/packformat/mod.ts';
import type { Push } from './requests.ts';

const FILE = 'packhouse-bench.txt';
const START_SECONDS = 1_700_000_000;

/** Where a chain of pushes starts: a commit and the bytes of its root tree; without it, the first commit has no parent. */
export interface Base {
  readonly commit: string;
  readonly tree: Buffer;
}

/** Pushes of one commit each (a new blob, its root tree, the commit), every one on top of the one before. The same for every server. */
export class PushChain {
  readonly #ref: string;
  readonly #tree: readonly TreeEntry[];
  #parent: string | undefined;
  #from = zeroOid('sha1');
  #count = 0;

  constructor(ref: string, base?: Base) {
    this.#ref = ref;
    this.#parent = base?.commit;
    this.#tree =
      base === undefined ? [] : [...treeEntries(base.tree, 'sha1')].filter(({ name }) => !name.equals(Buffer.from(FILE)));
  }

  /** The next `count` pushes. */
  take(count: number): Push[] {
    return Array.from({ length: count }, () => this.#next());
  }

  #next(): Push {
    const i = this.#count++;
    const blob = Buffer.from(`${this.#ref} ${i}\n`);
    const file = { mode: MODE_FILE, name: Buffer.from(FILE), oid: Buffer.from(oidOf(KIND_BLOB, blob), 'hex') };
    const tree = encodeTree([...this.#tree, file]);
    const who = `B <b@example.com> ${START_SECONDS + i} +0000`;
    const parent = this.#parent === undefined ? '' : `parent ${this.#parent}\n`;
    const head = `tree ${oidOf(KIND_TREE, tree)}\n${parent}author ${who}\ncommitter ${who}\n`;
    const commit = Buffer.from(`${head}\n${this.#ref} ${i}\n`);
    const to = oidOf(KIND_COMMIT, commit);
    const push = {
      ref: this.#ref,
      from: this.#from,
      to,
      pack: packOf([
        [KIND_COMMIT, commit],
        [KIND_TREE, tree],
        [KIND_BLOB, blob],
      ]),
    };
    this.#from = to;
    this.#parent = to;
    return push;
  }
}

function oidOf(kind: number, body: Buffer): string {
  return hash('sha1', Buffer.concat([Buffer.from(`${kindName(kind)} ${body.length}\0`), body]));
}

/** Git's order: names as bytes, a folder's as if it ended with a slash. */
function encodeTree(entries: readonly TreeEntry[]): Buffer {
  const keyed = entries.map((entry) => ({
    entry,
    key: Buffer.concat([entry.name, Buffer.from(entry.mode === MODE_TREE ? '/' : '')]),
  }));
  keyed.sort((a, b) => Buffer.compare(a.key, b.key));
  return Buffer.concat(
    keyed.flatMap(({ entry: { mode, name, oid } }) => [Buffer.from(`${mode.toString(8)} `), name, Buffer.of(0), oid]),
  );
}

function packOf(objects: readonly (readonly [kind: number, body: Buffer])[]): Buffer {
  const entries = objects.flatMap(([kind, body]) => [encodeEntryHeader(kind, body.length), deflateSync(body)]);
  const pack = Buffer.concat([encodePackHeader(objects.length), ...entries]);
  return Buffer.concat([pack, hash('sha1', pack, 'buffer')]);
}
