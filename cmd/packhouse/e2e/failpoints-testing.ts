import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Failpoint } from '../../../internal/base/mod.ts';
import {
  FastImport,
  git,
  makeRepository,
  type StoreKind,
  scratchFolder,
  seededBytes,
  startServer,
  startTestDatabase,
  type TestPeer,
  type TestServer,
  tryGit,
} from '../../../internal/testkit/mod.ts';
import { assertNothingLeft } from './leftovers-testing.ts';

/** Leases and graces that pass within a test; large is what a test can make large. */
const ENV = {
  PACKHOUSE_CHUNKING_THRESHOLD: '200KiB',
  PACKHOUSE_CHUNKING_MIN: '4KiB',
  PACKHOUSE_CHUNKING_AVG: '16KiB',
  PACKHOUSE_CHUNKING_MAX: '64KiB',
  PACKHOUSE_PUSH_TAIL_BYTES_MAX: '100KiB',
  PACKHOUSE_MAINTENANCE_LEASE: '1s',
  PACKHOUSE_MAINTENANCE_INTERVAL: '200ms',
  PACKHOUSE_MAINTENANCE_UPLOAD_LEASE: '1s',
  PACKHOUSE_MAINTENANCE_READER_MARGIN: '0s',
  PACKHOUSE_SWEEP_RETENTION: '0s',
  PACKHOUSE_SWEEP_CONDEMNED_PERCENT_MAX: '100',
};
/** Nobody reads while what was replaced leaves: verbs need not wait for the longest fetch. */
const VERB_ENV = { PACKHOUSE_FETCH_MAX_DURATION: '1s' };
/** Longer than each of them. */
const GRACE_MS = 1_200;
/** More than one part of a multipart upload. */
const MULTIPART_BYTES = 17 << 20;

/** Far longer than anything of these takes. */
const WAIT_MS_MAX = 60_000;

export type PushKind = 'small' | 'large' | 'multipart';

const BRANCHES = ['refs/heads/main', 'refs/heads/side'];

/** A repository with what the server has acknowledged of it. */
interface Known {
  readonly name: string;
  readonly local: string;
  tip: string;
}

/** Waits until a server has said it. */
async function untilLog(peer: TestPeer, text: string): Promise<void> {
  const deadline = performance.now() + WAIT_MS_MAX;
  while (!peer.log().includes(text)) {
    assert(performance.now() < deadline, `'${text}' is not said in ${peer.log().slice(-4000)}`);
    await sleep(50);
  }
}

/** A server that stays, beside which others are killed, and repositories whose state it has to have. */
export class House {
  readonly server: TestServer;
  readonly #repositories: Known[] = [];
  #count = 0;

  private constructor(server: TestServer) {
    this.server = server;
  }

  static async start(store: StoreKind): Promise<House> {
    return new House(await startServer({ store, env: ENV }));
  }

  /** A repository, in a pool of its own, after so many small pushes. */
  async repository(pushes: number): Promise<Known> {
    const name = `fire/r${this.#repositories.length}`;
    const known: Known = { name, local: await makeRepository('sha1'), tip: '' };
    this.#repositories.push(known);
    for (let i = 0; i < pushes; i++) await this.push(known, 'small');
    return known;
  }

  /** Pushes through the server that stays: this must succeed. */
  async push(known: Known, kind: PushKind): Promise<void> {
    const tip = await this.#commit(known, kind);
    await git(['push', '-q', '--atomic', this.#url(known), ...BRANCHES.map((ref) => `+${tip}:${ref}`)], { cwd: known.local });
    known.tip = tip;
  }

  /** Leaves a commit behind that no ref reaches any more. */
  async makeGarbage(known: Known, kind: PushKind): Promise<void> {
    const before = known.tip;
    await this.push(known, kind);
    known.tip = before;
    await this.push(known, 'small');
  }

  async #commit({ local, tip }: Known, kind: PushKind): Promise<string> {
    const n = ++this.#count;
    const files: Record<string, string | Buffer> = { [`file${n}`]: `${n}\n` };
    if (kind === 'large') {
      files.asset = seededBytes(n, 300_000);
      for (let i = 0; i < 3; i++) files[`bulk${i}`] = seededBytes(n * 10 + i, 100_000);
    }
    // Below the threshold each, so that they make one large pack.
    if (kind === 'multipart')
      for (let i = 0; i * 190_000 < MULTIPART_BYTES; i++) files[`part${i}`] = seededBytes(n * 1000 + i, 190_000);
    const importer = new FastImport(1_750_000_000 + n * 1000);
    importer.commit('refs/scratch/tip', files, { parents: tip === '' ? [] : [tip] });
    await importer.into(local);
    return git(['rev-parse', 'refs/scratch/tip'], { cwd: local });
  }

  #url({ name }: Known, url = this.server.url): string {
    return `${url}/${name}.git`;
  }

  /** A push to a process that is killed at a moment of it: all of it is there afterwards, or nothing. */
  async killedPush(at: Failpoint, kind: PushKind, outcome: 'before' | 'after', isFirst: boolean): Promise<void> {
    const known = await this.repository(isFirst ? 0 : 1);
    const tip = await this.#commit(known, kind);
    const peer = await this.server.startPeer({ PACKHOUSE_FAILPOINTS: `${at}=kill:1` });
    const pushed = await tryGit(
      ['push', '-q', '--atomic', this.#url(known, peer.url), ...BRANCHES.map((ref) => `${tip}:${ref}`)],
      {
        cwd: known.local,
      },
    );
    assert.notEqual(pushed.status, 0, 'a killed server acknowledges nothing');
    assert.equal(await peer.exited(), null);
    assert.match(peer.log(), new RegExp(`failpoint ${at}: kill`));
    const values = await this.#values(known);
    const expected = outcome === 'after' ? tip : known.tip;
    assert.deepEqual([...values], expected === '' ? [] : [expected, expected]);
    if (outcome === 'after') known.tip = tip;
    // What a client does that got no answer.
    await git(['push', '-q', '--atomic', this.#url(known), ...BRANCHES.map((ref) => `${tip}:${ref}`)], { cwd: known.local });
    known.tip = tip;
    await this.check(known);
  }

  async #values(known: Known): Promise<string[]> {
    const { stdout } = await tryGit(['ls-remote', this.#url(known), 'refs/heads/*']);
    return [...stdout.toString().matchAll(/^[0-9a-f]{40}/gm)].map(([oid]) => oid);
  }

  async killedClone(at: Failpoint): Promise<void> {
    const known = await this.repository(1);
    const peer = await this.server.startPeer({ PACKHOUSE_FAILPOINTS: `${at}=kill:1` });
    const { status } = await tryGit(['clone', '-q', '--mirror', this.#url(known, peer.url), join(scratchFolder(), 'clone.git')]);
    assert.notEqual(status, 0);
    assert.equal(await peer.exited(), null);
    await this.check(known);
  }

  async killedStop(at: Failpoint): Promise<void> {
    const peer = await this.server.startPeer({ PACKHOUSE_FAILPOINTS: `${at}=kill:1` });
    assert.equal(await peer.stop(), null);
    assert.match(peer.log(), new RegExp(`failpoint ${at}: kill`));
  }

  /** The maintenance of a server, killed as soon as it has something to do. */
  async killedJob(at: Failpoint): Promise<void> {
    const env = { PACKHOUSE_FAILPOINTS: `${at}=kill:1`, PACKHOUSE_MAINTENANCE_ENABLED: 'true' };
    const peer = await this.server.startPeer(env);
    // Maintenance is a process of its own, without which its server serves on and which it starts again.
    await untilLog(peer, `failpoint ${at}: kill`);
    await untilLog(peer, 'the process of maintenance ended');
    assert.equal(await peer.stop(), 0);
  }

  async killedVerb(at: Failpoint, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<void> {
    const { code, stderr } = await this.server.packhouseWith(
      { ...VERB_ENV, ...env, PACKHOUSE_FAILPOINTS: `${at}=kill:1` },
      ...args,
    );
    assert.match(stderr, new RegExp(`failpoint ${at}: kill`));
    assert.equal(code, null);
  }

  /** All that a server does, or only pushes to it, then the verbs, each once: the moments that they come to. */
  async tour(onlyPushes: boolean): Promise<Set<string>> {
    const env = { PACKHOUSE_FAILPOINTS: 'any=note' };
    let said = '';
    const peer = await this.server.startPeer({ ...env, PACKHOUSE_MAINTENANCE_ENABLED: 'true' });
    const known = await this.repository(0);
    const specs = BRANCHES.map((ref) => `HEAD:${ref}`);
    const kinds: readonly PushKind[] = ['small', 'large', onlyPushes ? 'multipart' : 'large'];
    for (const kind of kinds) {
      known.tip = await this.#commit(known, kind);
      await git(['update-ref', '--no-deref', 'HEAD', known.tip], { cwd: known.local });
      await git(['push', '-q', this.#url(known, peer.url), ...specs], { cwd: known.local });
    }
    await git(['clone', '-q', '--mirror', this.#url(known, peer.url), join(scratchFolder(), 'clone.git')]);
    await untilLog(peer, 'failpoint job.done: note');
    assert.equal(await peer.stop(), 0);
    said += peer.log();
    if (!onlyPushes) said += await this.#tourOfVerbs(known, env);
    return new Set([...said.matchAll(/failpoint (\S+): note/g)].map(([, name]) => name!));
  }

  async #tourOfVerbs(known: Known, env: Readonly<Record<string, string>>): Promise<string> {
    let said = '';
    await this.makeOrphan();
    await this.makeGarbage(known, 'large');
    const folder = scratchFolder('backup');
    const sweep = ['sweep', '--yes', '--thorough'];
    for (const args of [['seal', '--now'], ['compact'], sweep, ['snapshot', '--now'], sweep, ['backup', folder]]) {
      // What the ones before have replaced is to leave; a snapshot has to have seen it.
      if (args[0] === 'sweep') await sleep(GRACE_MS);
      const { code, stderr } = await this.server.packhouseWith({ ...VERB_ENV, ...env }, ...args);
      assert.equal(code, 0, stderr);
      said += stderr;
    }
    const database = await startTestDatabase();
    try {
      const elsewhere = {
        PACKHOUSE_STORE_KIND: 'fs',
        PACKHOUSE_DATA_DIR: scratchFolder('restored'),
        PACKHOUSE_DATABASE_URL: database.url,
      };
      const { code, stderr } = await this.server.packhouseWith({ ...env, ...elsewhere }, 'restore', folder);
      assert.equal(code, 0, stderr);
      said += stderr;
    } finally {
      await database.stop();
    }
    return said;
  }

  async verb(...args: readonly string[]): Promise<void> {
    const { code, stdout, stderr } = await this.server.packhouseWith(VERB_ENV, ...args);
    assert.equal(code, 0, stdout + stderr);
  }

  /** Restores a backup to a place that a killed restore has left as it was then. */
  async killedRestore(at: Failpoint, folder: string): Promise<void> {
    const env = { PACKHOUSE_STORE_KIND: 'fs', PACKHOUSE_DATA_DIR: scratchFolder('restored') };
    const databases = [await startTestDatabase(), await startTestDatabase()];
    try {
      await this.killedVerb(at, ['restore', folder], { ...env, PACKHOUSE_DATABASE_URL: databases[0]!.url });
      const again = { ...env, PACKHOUSE_DATABASE_URL: databases[1]!.url };
      for (const args of [['restore', folder], ['fsck']]) {
        const { code, stdout, stderr } = await this.server.packhouseWith(again, ...args);
        assert.equal(code, 0, stdout + stderr);
      }
    } finally {
      for (const database of databases) await database.stop();
    }
  }

  /** What the bucket has of a crate that no row names, older than an upload may take. */
  async makeOrphan(): Promise<void> {
    const id = randomUUID();
    await this.server.store.put(`crates/${id.slice(0, 2)}/${id}.pack`, Buffer.from('nobody knows me'));
    await sleep(GRACE_MS);
  }

  /** Everything acknowledged is there, and nothing else is shown. */
  async check(known: Known): Promise<void> {
    const folder = join(scratchFolder(), 'check.git');
    await git(['clone', '-q', '--mirror', this.#url(known), folder]);
    await git(['fsck', '--strict', '--full'], { cwd: folder });
    for (const ref of BRANCHES) assert.equal(await git(['rev-parse', ref], { cwd: folder }), known.tip);
    const list = (cwd: string): Promise<string> => git(['rev-list', '--objects', '--no-object-names', known.tip], { cwd });
    assert.equal(await list(folder), await list(known.local));
  }

  /** Everything acknowledged is there, and nothing of all the killing is left. */
  async assertNothingLeft(): Promise<void> {
    for (const known of this.#repositories) await this.check(known);
    await assertNothingLeft(this.server, GRACE_MS);
    for (const known of this.#repositories) await this.check(known);
  }
}
