import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { FastImport, git, makeRepository, seededBytes, startServer, type TestServer } from '../../../internal/testkit/mod.ts';

const MAIN = 'refs/heads/main';

describe('what was let go', () => {
  let server: TestServer;
  let local: string;
  let count = 0;
  const oids: Record<string, string> = {};

  before(async () => {
    server = await startServer();
    const importer = new FastImport();
    const root = importer.commit(MAIN, { a: 'a\n' });
    importer.commit(MAIN, { a: 'b\n' }, { parents: [root] });
    importer.commit('refs/heads/side', { b: seededBytes(1, 5000) }, { parents: [root] });
    importer.tag('v1', 'refs/heads/side');
    local = await importer.into();
    for (const name of ['main', 'side', 'v1']) oids[name] = await git(['rev-parse', name], { cwd: local });
  });
  after(async () => {
    await server?.close();
  });

  const url = (name: string): string => `${server.url}/${name}.git`;
  async function filled(): Promise<string> {
    const name = `kim/r${++count}`;
    for (const ref of ['main', 'side']) await git(['push', '-q', url(name), ref], { cwd: local });
    return name;
  }
  /** A verb that must succeed; what it prints. */
  async function run(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await server.packhouse(...args);
    assert.equal(code, 0, `${args.join(' ')}: ${stderr}`);
    return stdout;
  }
  async function fails(words: RegExp, ...args: string[]): Promise<void> {
    const { code, stderr } = await server.packhouse(...args);
    assert.deepEqual([code, words.test(stderr)], [1, true], stderr);
  }
  const refs = (name: string) => git(['ls-remote', '--heads', '--tags', url(name)], { cwd: local });

  test('is in the reflog, was there at its time, and can be set again', async () => {
    const name = await filled();
    const then = new Date();
    await git(['push', '-q', '-f', url(name), 'side:main', ':side'], { cwd: local });
    const log = JSON.parse(await run('reflog', name, 'main', '--json')) as {
      ref: string;
      old: string | null;
      new: string | null;
    }[];
    assert.deepEqual(
      log.map(({ old, new: to }) => [old, to]),
      [
        [oids.main, oids.side],
        [null, oids.main],
      ],
    );
    assert.equal((await run('reflog', name)).split('\n').filter((line) => line.includes('refs/heads/side')).length, 2);
    assert.equal(
      await run('repo', 'at', then.toISOString(), name),
      `${oids.main} refs/heads/main\n${oids.side} refs/heads/side\n`,
    );
    assert.equal(await run('repo', 'at', '0s', name), `${oids.side} refs/heads/main\n`);
    assert.equal(await run('repo', 'at', '2d', name), '\n');
    await run('repo', 'set-ref', name, 'main', oids.main ?? '');
    await run('repo', 'set-ref', name, 'refs/tags/old', oids.side ?? '');
    assert.equal(await refs(name), `${oids.main}\trefs/heads/main\n${oids.side}\trefs/tags/old`);
    assert.equal((JSON.parse(await run('reflog', name, 'main', '--json')) as unknown[]).length, 3);
  });

  test('cannot be set from what only a fork has, nor when it is gone, nor under a name that is none', async () => {
    const name = await filled();
    const fork = `${name}-fork`;
    await run('repo', 'fork', name, fork);
    const importer = new FastImport(1_795_000_000 + count);
    importer.commit('refs/heads/own', { own: `${count}` }, { parents: [MAIN] });
    await importer.into(local);
    await git(['push', '-q', url(fork), 'own'], { cwd: local });
    const own = await git(['rev-parse', 'own'], { cwd: local });
    const none = /is no commit or tag of this repository's history/;
    await fails(none, 'repo', 'set-ref', name, 'x', own);
    await fails(none, 'repo', 'set-ref', name, 'x', '7'.repeat(40));
    await fails(none, 'repo', 'set-ref', name, 'x', 'nonsense');
    await fails(/no name of a ref/, 'repo', 'set-ref', name, 'refs/heads/x..y', oids.main ?? '');
    await run('repo', 'set-ref', fork, 'x', own);
    await git(['push', '-q', url(name), ':side'], { cwd: local });
    await git(['push', '-q', url(fork), ':side'], { cwd: local });
    await run('sweep', name, '--sweep-retention', '0s', '--thorough', '--yes');
    await fails(none, 'repo', 'set-ref', name, 'side', oids.side ?? '');
  });

  test('comes back as a whole repository until the retention ends', async () => {
    const name = await filled();
    const before = await refs(name);
    await run('repo', 'delete', name);
    assert.match(await run('undelete', name), /is back/);
    assert.equal(await refs(name), before);
    await run('repo', 'delete', name);
    await git(['push', '-q', url(name), 'main'], { cwd: local });
    await fails(/exists already/, 'undelete', name);
    await run('undelete', name, '--as', `${name}-before`);
    assert.equal(await refs(`${name}-before`), before);
    await run('repo', 'delete', `${name}-before`);
    await fails(/was deleted within the retention/, 'undelete', `${name}-before`, '--sweep-retention', '0s');
    await run('sweep', '--sweep-retention', '0s');
    await fails(/was deleted within the retention/, 'undelete', `${name}-before`);
    assert.equal(await refs(name), `${oids.main}\trefs/heads/main`);
  });

  test('goes by a sweep, which says so first', async () => {
    const name = await filled();
    await git(['push', '-q', url(name), ':side'], { cwd: local });
    assert.match(await run('sweep', name), /1 pools, 1 without garbage/);
    const dry = await run('sweep', name, '--dry-run', '--sweep-retention', '0s');
    assert.match(dry, /tail +drop +garbage/);
    assert.match(dry, /would go/);
    const asked = await server.packhouse('sweep', name, '--sweep-retention', '0s', '--sweep-condemned-percent-max', '5');
    assert.deepEqual([asked.code, /run again with --yes/.test(asked.stdout)], [1, true]);
    const report = JSON.parse(await run('sweep', '--sweep-retention', '0s', '--yes', '--json')) as {
      pools: { outcome: string; packs: { action: string }[] }[];
    };
    assert.ok(report.pools.some(({ outcome, packs }) => outcome === 'swept' && packs.some(({ action }) => action === 'drop')));
    const clone = await makeRepository();
    await git(['fetch', '-q', url(name), 'main'], { cwd: clone });
    await git(['fsck', '--full', '--strict'], { cwd: clone });
    await run('fsck');
  });

  test('in the bucket is told and kept while there is a hold', async () => {
    await server.query(`insert into maintenance_holds (reason) values ('restore')`);
    const key = 'crates/ab/ab000000-0000-4000-8000-000000000000.pack';
    await server.store.put(key, Buffer.from('PACK'));
    const sweep = ['sweep', '--maintenance-upload-lease', '0s', '--yes'];
    assert.match(await run(...sweep), /1 orphans in the bucket kept: there is a hold/);
    const [hold] = JSON.parse(await run('hold', 'list', '--json')) as { id: number; reason: string }[];
    assert.equal(hold?.reason, 'restore');
    await run('hold', 'release', String(hold?.id));
    await fails(/there is no hold/, 'hold', 'release', 'all');
    assert.match(await run(...sweep), /1 orphans of the bucket were removed/);
    assert.equal(await server.store.head(key), null);
  });
});

const FLAGS = [
  ...['--maintenance-enabled', 'true', '--maintenance-interval', '100ms', '--sweep-interval', '100ms'],
  ...['--sweep-retention', '1ms', '--sweep-condemned-percent-max', '100'],
];

describe('a server', { timeout: 120_000 }, () => {
  test('sweeps and removes what nobody may read any more by itself', async () => {
    const server = await startServer({ flags: FLAGS });
    try {
      const importer = new FastImport();
      importer.commit(MAIN, { a: 'a\n' });
      importer.commit('refs/heads/side', { b: seededBytes(2, 9000) }, { parents: [] });
      const local = await importer.into();
      const url = `${server.url}/kim/self.git`;
      await git(['push', '-q', url, 'main', 'side'], { cwd: local });
      await git(['push', '-q', url, ':side'], { cwd: local });
      // What is partly garbage is written again once it is sealed.
      assert.equal((await server.packhouse('seal', '--now')).code, 0);
      for (const kind of ['sweep', 'reap', 'orphans']) {
        const done = `select 1 from maintenance_jobs where kind = $1 and state = 'done'`;
        while ((await server.query(done, [kind])).length === 0) await sleep(50);
      }
      while ((await server.query(`select 1 from packs where origin = 'sweep' and state = 'live'`)).length === 0) await sleep(50);
      const clone = await makeRepository();
      await git(['fetch', '-q', url, 'main'], { cwd: clone });
    } finally {
      await server.close();
    }
  });
});
