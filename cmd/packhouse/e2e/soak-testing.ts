import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
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
const CHUNKED_BYTES = 300_000;

/** Everything is due at once, and what is replaced or unreachable goes within seconds. */
export const HURRIED = {
  PACKHOUSE_MAINTENANCE_INTERVAL: '500ms',
  PACKHOUSE_MAINTENANCE_LEASE: '3s',
  PACKHOUSE_SEAL_AGE: '1s',
  PACKHOUSE_SEAL_PACKS: '5',
  PACKHOUSE_SEAL_CRATE_BYTES: '1MiB',
  PACKHOUSE_SWEEP_INTERVAL: '3s',
  PACKHOUSE_SWEEP_RETENTION: '4s',
  PACKHOUSE_SWEEP_CONDEMNED_PERCENT_MAX: '100',
  PACKHOUSE_FETCH_MAX_DURATION: '10s',
  PACKHOUSE_MAINTENANCE_READER_MARGIN: '1s',
  PACKHOUSE_SNAPSHOT_INTERVAL: '3s',
  PACKHOUSE_CHUNKING_THRESHOLD: `${CHUNKED_BYTES}`,
  PACKHOUSE_CHUNKING_MIN: '4KiB',
  PACKHOUSE_CHUNKING_AVG: '16KiB',
  PACKHOUSE_CHUNKING_MAX: '64KiB',
} as const;

/** What was advertised may be force-pushed away and swept before it is asked for, as on any stateless server. */
export const SWEPT_UNDER_THE_CLIENT = /not our ref|unknown ref/;

type Update = readonly [ref: string, oid: string];

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
  /** Everything that was sent to the server, in order, and whether it was acknowledged. */
  readonly sent: { readonly updates: readonly Update[]; acknowledged: boolean }[] = [];
  /** What failed pushes said. */
  readonly failures: string[] = [];
  readonly #patient: boolean;

  private constructor(name: string, local: string, seed: number, patient: boolean) {
    this.name = name;
    this.local = local;
    this.#random = seededRandom(seed);
    this.#patient = patient;
  }

  /** `patient`: a push may fail, and is looked after then; else each must succeed. */
  static async create(name: string, seed: number, patient = false): Promise<Writer> {
    return new Writer(name, await makeRepository('sha1'), seed, patient);
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

  /** An empty oid deletes. */
  async #push(url: string, updates: readonly Update[], force = false): Promise<void> {
    for (const [ref, oid] of updates) this.#mayBe(ref, oid);
    const specs = updates.map(([ref, oid]) => `${force ? '+' : ''}${oid}:${ref}`);
    const args = ['push', '-q', '--atomic', `${url}/${this.name}.git`, ...specs];
    if (!this.#patient) await git(args, { cwd: this.local });
    else if (!(await this.#insist(url, args, updates))) return;
    for (const [ref, oid] of updates) if (oid === '') this.refs.delete(ref);
    for (const [ref, oid] of updates) if (oid !== '') this.refs.set(ref, oid);
    this.pushes++;
  }

  /** Pushes until it is acknowledged, found done, or given up; whether the server has it. Half of it done is never right. */
  async #insist(url: string, args: readonly string[], updates: readonly Update[]): Promise<boolean> {
    for (;;) {
      const attempt = { updates, acknowledged: false };
      this.sent.push(attempt);
      const { status, stderr } = await tryGit(args, { cwd: this.local });
      attempt.acknowledged = status === 0;
      if (attempt.acknowledged) return true;
      this.failures.push(stderr);
      // A transaction whose process was killed may still commit: what was asked of PostgreSQL is done whoever hears the answer.
      await sleep(200);
      const there = await this.#remoteRefs(url);
      const done = updates.filter(([ref, oid]) => (there.get(ref) ?? '') === oid);
      assert(done.length === 0 || done.length === updates.length, `half of an atomic push is there: ${args.join(' ')}`);
      for (const [ref, oid] of this.refs) {
        if (!updates.some(([updated]) => updated === ref)) assert.equal(there.get(ref), oid, `${ref} after a push of other refs`);
        else if (done.length === 0) assert.equal(there.get(ref), oid, `${ref} after a push that did not happen`);
      }
      if (done.length > 0) return true;
      if (this.#random(3) === 0) return false;
    }
  }

  async #remoteRefs(url: string): Promise<Map<string, string>> {
    for (let i = 0; ; i++) {
      const { status, stdout, stderr } = await tryGit(['ls-remote', `${url}/${this.name}.git`, 'refs/*']);
      // Before the first push there is no repository.
      if (status !== 0 && /not found/.test(stderr) && this.refs.size === 0) return new Map();
      const lines = stdout.toString().split('\n');
      if (status === 0)
        return new Map(lines.flatMap((line) => (line === '' ? [] : [line.split('\t').reverse() as [string, string]])));
      assert(i < 200, `the server does not answer: ${stderr}`);
      await sleep(100);
    }
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
    return this.#push(url, [[refs[this.#random(refs.length)]!, '']]);
  }
}

/**
 * A clone while others push: whole, and each ref at a value that it has had. What git said when there is no clone: a ref may move away
 * under the client, and a server may be killed.
 */
export async function readOnce(url: string, writer: Writer): Promise<{ objects: number } | string> {
  const folder = join(scratchFolder('soak'), 'clone.git');
  const { status, stderr } = await tryGit(['clone', '-q', '--mirror', `${url}/${writer.name}.git`, folder]);
  if (status !== 0) return stderr;
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
