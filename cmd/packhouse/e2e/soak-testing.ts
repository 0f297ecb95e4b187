import assert from 'node:assert/strict';
import { join } from 'node:path';
import {
  FastImport,
  git,
  makeRepository,
  scratchFolder,
  seededBytes,
  seededRandom,
  tryGit,
} from '../../../internal/testkit/mod.ts';

/** Bytes above which the soaked server keeps a blob as chunks. */
export const CHUNKED_BYTES = 300_000;

/**
 * A user who works on one repository, alone: knows what each ref must be because the server acknowledged it. Pushes of every kind:
 * small, large, of large files and their next versions, forced, several refs at once, deletions, tags.
 */
export class Writer {
  readonly name: string;
  readonly local: string;
  readonly #random: (below: number) => number;
  /** What the server has acknowledged. */
  readonly refs = new Map<string, string>();
  /** Every value that a ref has had or may have had: what a reader may see while this goes on. */
  readonly seen = new Map<string, Set<string>>();
  #time = 1_750_000_000;
  #count = 0;
  #asset: Buffer = Buffer.alloc(0);
  pushes = 0;

  private constructor(name: string, local: string, seed: number) {
    this.name = name;
    this.local = local;
    this.#random = seededRandom(seed);
  }

  static async create(name: string, seed: number): Promise<Writer> {
    return new Writer(name, await makeRepository('sha1'), seed);
  }

  /** One push of a kind that chance chooses. */
  async step(url: string): Promise<void> {
    const choice = this.refs.size === 0 ? 0 : this.#random(12);
    const branch = `refs/heads/b${this.#random(4)}`;
    if (choice < 5) return this.#push(url, [[branch, await this.#commit(branch, this.#smallFiles())]]);
    if (choice === 5) return this.#push(url, [[branch, await this.#commit(branch, this.#manyFiles())]]);
    if (choice === 6) return this.#push(url, [[branch, await this.#commit(branch, this.#nextAsset())]]);
    if (choice === 7) return this.#force(url, branch);
    if (choice === 8) return this.#delete(url);
    if (choice === 9) return this.#push(url, [[`refs/tags/t${++this.#count}`, await this.#tag(branch)]]);
    const other = 'refs/heads/other';
    return this.#push(url, [
      [branch, await this.#commit(branch, this.#smallFiles())],
      [other, await this.#commit(other, this.#smallFiles())],
    ]);
  }

  async #push(url: string, updates: readonly (readonly [ref: string, oid: string])[], force = false): Promise<void> {
    for (const [ref, oid] of updates) this.#mayBe(ref, oid);
    const specs = updates.map(([ref, oid]) => `${force ? '+' : ''}${oid}:${ref}`);
    await git(['push', '-q', '--atomic', `${url}/${this.name}.git`, ...specs], { cwd: this.local });
    for (const [ref, oid] of updates) this.refs.set(ref, oid);
    this.pushes++;
  }

  #mayBe(ref: string, oid: string): void {
    const values = this.seen.get(ref) ?? new Set();
    values.add(oid);
    this.seen.set(ref, values);
  }

  #smallFiles(): Record<string, string> {
    return {
      [`dir${this.#random(5)}/file${this.#random(30)}`]: `${'line of text\n'.repeat(this.#random(40))}${++this.#count}\n`,
    };
  }

  #manyFiles(): Record<string, Buffer> {
    const files: Record<string, Buffer> = {};
    for (let i = 0; i < 20; i++) files[`bulk/${i}`] = seededBytes(++this.#count, 60_000);
    return files;
  }

  #nextAsset(): Record<string, Buffer> {
    if (this.#asset.length === 0) this.#asset = seededBytes(77, 3 * CHUNKED_BYTES);
    const at = this.#random(this.#asset.length);
    this.#asset = Buffer.concat([this.#asset.subarray(0, at), seededBytes(++this.#count, 2_000), this.#asset.subarray(at)]);
    return { 'asset.bin': this.#asset };
  }

  /** A commit on what the server has on the branch; a new branch starts from nothing or from another one. */
  async #commit(ref: string, files: Readonly<Record<string, string | Buffer>>, from?: string): Promise<string> {
    const parent = from ?? this.refs.get(ref) ?? [...this.refs.values()][0];
    this.#time += 600;
    const importer = new FastImport(this.#time);
    const scratch = 'refs/scratch/tip';
    importer.commit(scratch, files, { parents: parent === undefined ? [] : [parent], message: `change ${++this.#count}\n` });
    await importer.into(this.local);
    return git(['rev-parse', scratch], { cwd: this.local });
  }

  async #tag(branch: string): Promise<string> {
    const target = this.refs.get(branch) ?? [...this.refs.values()][0]!;
    const body = `object ${await git(['rev-parse', `${target}^{commit}`], { cwd: this.local })}\ntype commit\ntag t${this.#count}\n`;
    const tagger = `tagger T <t@example.com> ${this.#time} +0000\n\ntag\n`;
    return git(['hash-object', '-t', 'tag', '-w', '--stdin'], { cwd: this.local, input: body + tagger });
  }

  /** Throws a commit away for another one: the old one is garbage from now on. */
  async #force(url: string, branch: string): Promise<void> {
    const tip = this.refs.get(branch);
    if (tip === undefined) return;
    const before = await tryGit(['rev-parse', '--verify', '-q', `${tip}~1^{commit}`], { cwd: this.local });
    if (before.status !== 0) return;
    await this.#push(url, [[branch, await this.#commit(branch, this.#smallFiles(), before.stdout.toString().trim())]], true);
  }

  async #delete(url: string): Promise<void> {
    const refs = [...this.refs.keys()];
    if (refs.length < 3) return;
    const ref = refs[this.#random(refs.length)]!;
    this.#mayBe(ref, '');
    await git(['push', '-q', `${url}/${this.name}.git`, `:${ref}`], { cwd: this.local });
    this.refs.delete(ref);
    this.pushes++;
  }
}

/** A clone while others push: whole, and each ref at a value that it has had. Null when a ref moved away under the client. */
export async function readOnce(url: string, writer: Writer): Promise<{ objects: number } | null> {
  const folder = join(scratchFolder('soak'), 'clone.git');
  const { status, stderr } = await tryGit(['clone', '-q', '--mirror', `${url}/${writer.name}.git`, folder]);
  if (status !== 0) {
    // What was advertised may be force-pushed away and swept before it is asked for, as on any stateless server.
    assert.match(stderr, /not our ref|unknown ref/);
    return null;
  }
  await git(['fsck', '--strict', '--full'], { cwd: folder });
  const refs = await refsOf(folder);
  for (const [ref, oid] of refs) assert(writer.seen.get(ref)?.has(oid), `${ref} is ${oid}, which it never was`);
  return { objects: Number(await git(['rev-list', '--all', '--objects', '--count'], { cwd: folder })) };
}

/** Everything that was acknowledged is there, and nothing else is shown. */
export async function checkRepository(url: string, writer: Writer): Promise<void> {
  const folder = join(scratchFolder('soak'), 'final.git');
  await git(['clone', '-q', '--mirror', `${url}/${writer.name}.git`, folder]);
  assert.deepEqual(await refsOf(folder), new Map([...writer.refs].sort(([a], [b]) => (a < b ? -1 : 1))));
  await git(['fsck', '--strict', '--full'], { cwd: folder });
  for (const oid of writer.refs.values()) {
    const list = (cwd: string): Promise<string> => git(['rev-list', '--objects', '--no-object-names', oid], { cwd });
    assert.deepEqual((await list(folder)).split('\n').sort(), (await list(writer.local)).split('\n').sort());
  }
}

async function refsOf(folder: string): Promise<Map<string, string>> {
  const lines = await git(['for-each-ref', '--format=%(refname) %(objectname)'], { cwd: folder });
  return new Map(lines.split('\n').flatMap((line) => (line === '' ? [] : [line.split(' ') as [string, string]])));
}
