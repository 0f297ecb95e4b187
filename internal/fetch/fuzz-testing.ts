import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FastImport, type FileChange, git, makeRepository, scratchFolder, seededBytes } from '../testkit/mod.ts';

/** Numbers that are the same in every run of one seed (mulberry32). */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  unit(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  below(bound: number): number {
    return Math.floor(this.unit() * bound);
  }

  chance(probability: number): boolean {
    return this.unit() < probability;
  }

  pick<T>(items: readonly T[]): T {
    assert(items.length > 0);
    return items[this.below(items.length)]!;
  }

  some<T>(items: readonly T[], max: number): T[] {
    return Array.from({ length: Math.min(max, items.length) }, () => this.pick(items));
  }
}

type Files = Readonly<Record<string, FileChange>>;

interface Commit {
  readonly oid: string;
  readonly files: Files;
}

const FOLDERS = ['', 'src/', 'src/a/', 'src/a/b/', 'doc/', 'x/y/z/'];
const PATTERNS = [
  '/*',
  '!/*/',
  '/src/',
  '!/src/a/',
  '*.txt',
  'doc/',
  'one',
  '/x/**/z',
  'src/a',
  '!six',
  '# none',
  'f*',
  '/src/a/b/',
  't[a-w]o',
  '!*.bin',
];
const NAMES = ['one', 'two', 'three', 'four.txt', 'five.bin', 'six'];

/** A repository whose history grows step by step at random: merges, reverts, moves, force pushes, deletions, tags of everything. */
export class RandomHistory {
  readonly folder: string;
  readonly dice: Dice;
  readonly commits: Commit[] = [];
  readonly #branches = new Map<string, number>();
  #bulk = 0;
  #time = 1_700_000_000;

  private constructor(folder: string, dice: Dice) {
    this.folder = folder;
    this.dice = dice;
  }

  static async create(dice: Dice): Promise<RandomHistory> {
    return new RandomHistory(await makeRepository(), dice);
  }

  /** Some commits on some branches, and what else happens to refs. */
  async grow(commitCount: number, withTags: boolean): Promise<void> {
    const { dice } = this;
    const stream = new FastImport(this.#time);
    const made: { mark: number; files: Files }[] = [];
    const first = this.commits.length;
    const parentOf = (at: number): number | string => (at < first ? this.commits[at]!.oid : made[at - first]!.mark);
    const filesOf = (at: number): Files => (at < first ? this.commits[at]!.files : made[at - first]!.files);
    for (let i = 0; i < commitCount; i++) {
      this.#time += 600;
      const known = first + made.length;
      const branches = [...this.#branches];
      const isNew = branches.length === 0 || dice.chance(0.1);
      const branch = isNew ? `refs/heads/b${dice.below(12)}` : dice.pick(branches)[0];
      let parents = this.#branches.has(branch) ? [this.#branches.get(branch)!] : [];
      if (known > 0 && (isNew || dice.chance(0.07))) parents = dice.chance(0.25) ? [] : [dice.below(known)];
      if (parents.length > 0 && dice.chance(0.2))
        parents = [...new Set([...parents, ...dice.some([...this.#branches.values()], 1 + dice.below(2))])];
      let files = parents.length === 0 ? {} : filesOf(parents[0]!);
      if (parents.length > 1) files = { ...files, ...filesOf(parents[1]!) };
      if (known > 0 && dice.chance(0.12)) files = filesOf(dice.below(known));
      else files = this.#changed(files, known === 0 ? {} : filesOf(dice.below(known)));
      const mark = stream.commit(branch, files, { parents: parents.map(parentOf), clean: true, message: `${known}\n` });
      made.push({ mark, files });
      this.#branches.set(branch, known);
    }
    await this.#import(stream, made);
    for (const [branch] of [...this.#branches]) {
      if (this.#branches.size > 2 && dice.chance(0.08)) {
        this.#branches.delete(branch);
        await git(['update-ref', '-d', branch], { cwd: this.folder });
      }
    }
    if (dice.chance(0.2)) await this.#forcePush();
    if (withTags) await this.#tag();
  }

  async #import(stream: FastImport, made: readonly { mark: number; files: Files }[]): Promise<void> {
    const marks = join(scratchFolder('marks'), 'marks');
    await git(['fast-import', '--quiet', '--force', `--export-marks=${marks}`], { cwd: this.folder, input: stream.stream() });
    const oids = new Map(
      readFileSync(marks, 'latin1')
        .trim()
        .split('\n')
        .map((line) => line.slice(1).split(' ') as [string, string]),
    );
    for (const { mark, files } of made) this.commits.push({ oid: oids.get(String(mark))!, files });
  }

  async #forcePush(): Promise<void> {
    const { dice } = this;
    const branch = dice.pick([...this.#branches.keys()]);
    const to = dice.below(this.commits.length);
    this.#branches.set(branch, to);
    await git(['update-ref', branch, this.commits[to]!.oid], { cwd: this.folder });
  }

  async #tag(): Promise<void> {
    const { dice, folder: cwd } = this;
    const commit = dice.pick(this.commits).oid;
    const tags = (await git(['for-each-ref', '--format=%(refname)', 'refs/tags'], { cwd }))
      .split('\n')
      .filter((name) => name !== '');
    const name = `t${dice.below(10)}`;
    const lines = (await git(['ls-tree', '-r', '-t', commit], { cwd })).split('\n').filter((line) => line !== '');
    const inside = lines.length === 0 ? commit : dice.pick(lines).split(/[ \t]/)[2]!;
    switch (dice.below(7)) {
      case 0:
      case 1:
        return void (await git(['tag', '-f', '-a', '-m', `m${dice.below(1e6)}`, name, commit], { cwd }));
      case 2:
        return void (await git(['tag', '-f', name, commit], { cwd }));
      case 3:
        if (tags.length > 0) await git(['tag', '-f', '-a', '-m', 'nested', name, dice.pick(tags)], { cwd });
        return;
      case 4:
        return void (await git(['tag', '-f', '-a', '-m', 'inside', name, inside], { cwd }));
      case 5:
        return void (await git(['tag', '-f', name, inside], { cwd }));
      default:
        if (tags.length > 0) await git(['update-ref', '-d', dice.pick(tags)], { cwd });
    }
  }

  #changed(files: Files, other: Files): Files {
    const { dice } = this;
    const next: Record<string, FileChange> = { ...files };
    const changes = dice.chance(0.1) ? 25 : 1 + dice.below(4);
    for (let i = 0; i < changes; i++) {
      const path = dice.pick(FOLDERS) + dice.pick(NAMES) + (dice.chance(0.3) ? dice.below(20) : '');
      const known = Object.keys(next);
      const kind = dice.below(10);
      if (dice.chance(0.05)) next.sparse = `${dice.some(PATTERNS, 1 + dice.below(5)).join('\n')}\n`;
      if (kind < 2 && known.length > 0) delete next[dice.pick(known)];
      else if (kind < 4 && known.length > 0) {
        const from = dice.pick(known);
        next[path] = next[from]!;
        if (dice.chance(0.5) && from !== path) delete next[from];
      } else if (kind < 5 && Object.keys(other).length > 0) next[path] = other[dice.pick(Object.keys(other))]!;
      else if (kind < 6) next[path] = `small ${dice.below(8)}\n`;
      else if (kind < 7) next[path] = seededBytes(dice.below(50), 200 + dice.below(6) * 1500);
      else next[path] = this.#edited(next[path]);
    }
    return next;
  }

  /** Text of many lines that changes a little, so that deltas are made. */
  #edited(before: FileChange | undefined): string {
    const lines =
      typeof before === 'string'
        ? before.split('\n')
        : Array.from({ length: 60 }, (_, i) => `line ${i} of file ${this.#bulk++ % 7}`);
    lines[this.dice.below(lines.length)] = `edited ${this.dice.below(1e6)}`;
    return lines.join('\n');
  }
}

/** What a client has: commits with everything below them, cut at some. */
export interface ClientState {
  readonly folder: string;
  readonly haves: readonly string[];
  readonly shallow: readonly string[];
  readonly objects: ReadonlySet<string>;
}

function shallowFile(shallow: readonly string[]): Record<string, string> {
  if (shallow.length === 0) return {};
  const path = join(scratchFolder('shallow'), 'shallow');
  writeFileSync(path, `${[...shallow].sort().join('\n')}\n`);
  return { GIT_SHALLOW_FILE: path };
}

/** Objects that revisions reach in a repository whose history is cut at some commits. */
export async function objectsOf(
  cwd: string,
  revisions: readonly string[],
  shallow: readonly string[],
  ...options: string[]
): Promise<Set<string>> {
  if (revisions.length === 0) return new Set();
  const out = await git(['rev-list', '--objects', '--no-object-names', ...options, '--stdin'], {
    cwd,
    env: shallowFile(shallow),
    input: `${revisions.join('\n')}\n`,
  });
  return new Set(out.split('\n').filter((line) => line !== ''));
}

/** A repository with just what a client has. */
export async function makeClient(source: string, haves: readonly string[], shallow: readonly string[]): Promise<ClientState> {
  const folder = await makeRepository();
  const objects = await objectsOf(source, haves, shallow);
  if (objects.size > 0) {
    const pack = join(folder, 'objects', 'pack');
    await git(['pack-objects', '-q', join(pack, 'pack')], { cwd: source, input: `${[...objects].join('\n')}\n` });
  }
  return { folder, haves, shallow, objects };
}

/** What git says of an answer's pack: the oids that came in it. Fails where `index-pack` refuses it. */
export async function indexAnswer(
  client: ClientState,
  pack: Buffer,
  shallow: readonly string[],
  strict: boolean,
): Promise<string[]> {
  const objects = scratchFolder('objects');
  mkdirSync(join(objects, 'pack'));
  const env = {
    ...shallowFile(shallow),
    GIT_OBJECT_DIRECTORY: objects,
    GIT_ALTERNATE_OBJECT_DIRECTORIES: join(client.folder, 'objects'),
  };
  const said = await git(['index-pack', strict ? '--strict' : '--fsck-objects', '--fix-thin', '--stdin'], {
    cwd: client.folder,
    env,
    input: pack,
  });
  const name = said.split(/\s/)[1]!;
  const listed = await git(['show-index'], {
    cwd: client.folder,
    input: readFileSync(join(objects, 'pack', `pack-${name}.idx`)),
  });
  rmSync(objects, { recursive: true, force: true });
  const rows = listed
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(' ') as [string, string]);
  // Behind the pack as it came stand the bases that git added.
  const sent = rows.filter(([offset]) => Number(offset) < pack.length - 20).map(([, oid]) => oid);
  assert.equal(pack.readUInt32BE(8), sent.length, 'the header counts the objects');
  assert.equal(new Set(sent).size, sent.length, 'an object comes twice');
  return sent;
}
