import type { ObjectFormat } from '../object/mod.ts';
import { git, makeRepository } from './git.ts';

/** What a path gets: bytes of a file, null to delete it, or an entry of another mode. A gitlink's content is its oid. */
export type FileChange =
  | string
  | Buffer
  | null
  | { readonly mode: '100755' | '120000' | '160000'; readonly content: string | Buffer };

export interface CommitOptions {
  readonly message?: string | Buffer;
  /** Marks of this stream, or revisions of the repository; empty makes a root commit. Left out: the tip that this stream gave the ref. */
  readonly parents?: readonly (number | string)[];
  readonly renames?: readonly (readonly [from: string, to: string])[];
  /** The commit holds only `files`. */
  readonly clean?: boolean;
}

const STEP_SECONDS = 600;

/** Writes a stream for `git fast-import`: histories without a work tree. Same calls, same objects. Paths may hold any bytes (latin1). */
export class FastImport {
  readonly #parts: Buffer[] = [Buffer.from('feature done\n')];
  #mark = 0;
  #time = 1_700_000_000;

  constructor(time?: number) {
    if (time !== undefined) this.#time = time;
  }

  commit(ref: string, files: Readonly<Record<string, FileChange>>, options: CommitOptions = {}): number {
    const mark = ++this.#mark;
    this.#time += STEP_SECONDS;
    const { parents } = options;
    if (parents?.length === 0) this.#text(`reset ${ref}\n\n`);
    this.#text(`commit ${ref}\nmark :${mark}\n`);
    this.#text(`author A U Thor <author@example.com> ${this.#time} +0100\n`);
    this.#text(`committer C O Mitter <committer@example.com> ${this.#time} +0000\n`);
    this.#data(options.message ?? `commit ${mark}\n`);
    parents?.forEach((parent, i) => {
      this.#text(`${i === 0 ? 'from' : 'merge'} ${typeof parent === 'number' ? `:${parent}` : `${parent}^0`}\n`);
    });
    if (options.clean) this.#text('deleteall\n');
    for (const [from, to] of options.renames ?? []) this.#text(`R ${quoted(from)} ${quoted(to)}\n`);
    for (const [path, change] of Object.entries(files)) this.#file(path, change);
    this.#text('\n');
    return mark;
  }

  tag(name: string, target: number | string, message = 'tag\n'): number {
    const mark = ++this.#mark;
    this.#text(`tag ${name}\nmark :${mark}\nfrom ${typeof target === 'number' ? `:${target}` : target}\n`);
    this.#text(`tagger T <tagger@example.com> ${this.#time} +0000\n`);
    this.#data(message);
    return mark;
  }

  reset(ref: string, target: number | string): void {
    this.#text(`reset ${ref}\nfrom ${typeof target === 'number' ? `:${target}` : target}\n\n`);
  }

  stream(): Buffer {
    return Buffer.concat([...this.#parts, Buffer.from('done\n')]);
  }

  /** Runs the stream in a repository, a new one unless told; resolves with its folder. */
  async into(folder?: string, format: ObjectFormat = 'sha1'): Promise<string> {
    const target = folder ?? (await makeRepository(format));
    await git(['fast-import', '--quiet', '--force'], { cwd: target, input: this.stream() });
    return target;
  }

  #file(path: string, change: FileChange): void {
    if (change === null) {
      this.#text(`D ${quoted(path)}\n`);
    } else if (typeof change === 'string' || Buffer.isBuffer(change)) {
      this.#text(`M 100644 inline ${quoted(path)}\n`);
      this.#data(change);
    } else if (change.mode === '160000') {
      this.#text(`M 160000 ${change.content.toString()} ${quoted(path)}\n`);
    } else {
      this.#text(`M ${change.mode} inline ${quoted(path)}\n`);
      this.#data(change.content);
    }
  }

  #text(text: string): void {
    this.#parts.push(Buffer.from(text, 'latin1'));
  }

  #data(data: string | Buffer): void {
    const bytes = typeof data === 'string' ? Buffer.from(data, 'latin1') : data;
    this.#text(`data ${bytes.length}\n`);
    this.#parts.push(bytes, Buffer.from('\n'));
  }
}

/** A path as fast-import wants it: C-style quotes, every byte that is not plain as three octal digits. */
function quoted(path: string): string {
  return `"${path.replace(/[^!#-[\]-~]/g, (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`)}"`;
}
