import assert from 'node:assert/strict';
import { join } from 'node:path';
import pg from 'pg';
import {
  FastImport,
  type GitResult,
  git,
  makeRepository,
  scratchFolder,
  seededBytes,
  tryGit,
} from '../../../internal/testkit/mod.ts';

/** `stored`: too large for a row, where the server has `SMALL_IS_LARGE`; `large`: with a blob that is cut into chunks besides. */
export type PushSize = 'small' | 'stored' | 'large';

/** Large is what a test can make large. */
export const SMALL_IS_LARGE = {
  PACKHOUSE_CHUNKING_THRESHOLD: '200KiB',
  PACKHOUSE_CHUNKING_MIN: '4KiB',
  PACKHOUSE_CHUNKING_AVG: '16KiB',
  PACKHOUSE_CHUNKING_MAX: '64KiB',
  PACKHOUSE_PUSH_TAIL_BYTES_MAX: '100KiB',
};

/** What became of pushes that something went wrong with: a test prints it. */
export interface Figures {
  pushes: number;
  /** Acknowledged all the same. */
  acknowledged: number;
  /** Refused in the words of git; nothing has changed. */
  refused: number;
  /** Broken off, by a status of HTTP or a cut connection: nothing has changed, or all of it. */
  brokenOff: number;
  brokenOffAndThere: number;
  /** Of the pushes: those that were other tries. */
  retried: number;
}

export function noFigures(): Figures {
  return { pushes: 0, acknowledged: 0, refused: 0, brokenOff: 0, brokenOffAndThere: 0, retried: 0 };
}

export function figuresLine(figures: Figures): string {
  return Object.entries(figures)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
}

/** A repository that is pushed to while something goes wrong, and what the catalog itself says of its branch. */
export class FaultPushes {
  readonly name: string;
  readonly #serverUrl: string;
  readonly #client: pg.Client;
  readonly #local: string;
  #tip = '';
  #count = 0;

  private constructor(name: string, serverUrl: string, client: pg.Client, local: string) {
    this.name = name;
    this.#serverUrl = serverUrl;
    this.#client = client;
    this.#local = local;
  }

  /** `databaseUrl`: the way to the catalog that nothing happens on. */
  static async open(name: string, serverUrl: string, databaseUrl: string): Promise<FaultPushes> {
    const client = new pg.Client({ connectionString: databaseUrl });
    await client.connect();
    return new FaultPushes(name, serverUrl, client, await makeRepository());
  }

  /** With a first push. */
  static async start(name: string, serverUrl: string, databaseUrl: string): Promise<FaultPushes> {
    const pushes = await FaultPushes.open(name, serverUrl, databaseUrl);
    await pushes.push('small');
    return pushes;
  }

  async close(): Promise<void> {
    await this.#client.end();
  }

  get url(): string {
    return `${this.#serverUrl}/${this.name}.git`;
  }

  async query<T extends pg.QueryResultRow>(sql: string, values: readonly unknown[] = []): Promise<T[]> {
    return (await this.#client.query<T>(sql, [...values])).rows;
  }

  /** The branch as the catalog has it. */
  async value(): Promise<string> {
    const rows = await this.query<{ oid: string }>("select oid from v_refs where repository = $1 and name = 'refs/heads/main'", [
      this.name,
    ]);
    return rows[0]?.oid ?? '';
  }

  async commit(size: PushSize): Promise<string> {
    const n = ++this.#count;
    const files: Record<string, string | Buffer> = { [`file${n}`]: `${n}\n` };
    if (size === 'large') files.asset = seededBytes(n, 300_000);
    if (size !== 'small') files.bulk = seededBytes(n * 10, 120_000);
    const importer = new FastImport(1_750_000_000 + n * 1000);
    importer.commit('refs/scratch/tip', files, { parents: this.#tip === '' ? [] : [this.#tip] });
    await importer.into(this.#local);
    return git(['rev-parse', 'refs/scratch/tip'], { cwd: this.#local });
  }

  send(tip: string): Promise<GitResult> {
    return tryGit(['push', '--porcelain', this.url, `${tip}:refs/heads/main`], { cwd: this.#local });
  }

  /** A push that nothing goes wrong with. */
  async push(size: PushSize): Promise<void> {
    const tip = await this.commit(size);
    const { status, stderr } = await this.send(tip);
    assert.equal(status, 0, stderr);
    assert.equal(await this.value(), tip);
    this.#tip = tip;
  }

  /**
   * A push in which something may go wrong: what is said of it must be true, and after `heal` it succeeds, in so many more tries at most when
   * things go on going wrong.
   */
  async struck(size: PushSize, figures: Figures, heal: () => void | Promise<void>, triesMax = 1): Promise<void> {
    const tip = await this.commit(size);
    await this.#tried(tip, figures, heal);
    for (let tries = 1; (await this.value()) !== tip; tries++) {
      assert(tries <= triesMax, `${triesMax} more tries`);
      await this.#tried(tip, figures, () => {});
      figures.retried++;
    }
    this.#tip = tip;
  }

  async #tried(tip: string, figures: Figures, heal: () => void | Promise<void>): Promise<void> {
    const before = this.#tip;
    const { status, stderr, stdout } = await this.send(tip);
    await heal();
    const value = await this.value();
    figures.pushes++;
    if (status === 0) {
      figures.acknowledged++;
      assert.equal(value, tip, 'an acknowledged push is there');
    } else if (stdout.toString().includes('[remote rejected]')) {
      figures.refused++;
      assert.equal(value, before, `a refused push has changed nothing: ${stdout} ${stderr}`);
    } else {
      figures.brokenOff++;
      assert(value === before || value === tip, `${value} is neither ${before} nor ${tip}`);
      if (value === tip) figures.brokenOffAndThere++;
    }
  }

  async poolId(): Promise<number> {
    const rows = await this.query<{ pool_id: string }>("select pool_id from repositories where owner || '/' || name = $1", [
      this.name,
    ]);
    return Number(rows[0]!.pool_id);
  }

  /** All that was pushed comes back, and git finds no fault in it. The number of clones that failed before: git took none of them. */
  async cloned(serverUrl = this.#serverUrl, triesMax = 4): Promise<number> {
    for (let failed = 0; ; failed++) {
      const clone = join(scratchFolder(), 'c.git');
      const { status, stderr } = await tryGit(['clone', '-q', '--mirror', `${serverUrl}/${this.name}.git`, clone]);
      if (status !== 0) {
        assert(failed < triesMax, `clones go on failing: ${stderr}`);
        // A wrong byte is found by git when it indexes the pack.
        assert.doesNotMatch(stderr, /inflate|corrupt|mismatch|bad object|unresolved delta/i, 'a wrong byte was served');
        continue;
      }
      await git(['fsck', '--full', '--strict', '--no-progress'], { cwd: clone });
      assert.equal(await git(['rev-parse', 'refs/heads/main'], { cwd: clone }), this.#tip);
      return failed;
    }
  }
}
