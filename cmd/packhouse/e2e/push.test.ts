import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  buildPack,
  describeOnStores,
  FastImport,
  git,
  type RefUpdate,
  reachableObjects,
  readPushAnswer,
  refusalOf,
  scratchFolder,
  sendPush,
  syntheticHistory,
  type TestServer,
  tryGit,
  ZERO_OID,
} from '../../../internal/testkit/mod.ts';

let repositories = 0;

/** A repository of ours with a small history, and the URL of a new repository that holds its main. */
async function pushed(server: TestServer): Promise<{ readonly local: string; readonly url: string }> {
  const url = `${server.url}/bob/push-${++repositories}.git`;
  const local = await syntheticHistory({ commits: 12, seed: repositories }).into();
  await git(['push', '-q', url, 'main'], { cwd: local });
  return { local, url };
}

/** One more commit on a branch; its oid. */
async function commit(local: string, branch: string, content: string, parent = `refs/heads/${branch}`): Promise<string> {
  const importer = new FastImport(1_750_000_000);
  importer.commit(`refs/heads/${branch}`, { [`new-${content}`]: `${content}\n` }, { parents: [parent], message: `${content}\n` });
  await importer.into(local);
  return git(['rev-parse', branch], { cwd: local });
}

/** `oid name` of each ref that the server shows, HEAD left out. */
async function remoteRefs(url: string): Promise<Map<string, string>> {
  const lines = (await git(['ls-remote', url])).split('\n').filter((line) => line !== '' && !line.endsWith('\tHEAD'));
  return new Map(lines.map((line) => [line.slice(line.indexOf('\t') + 1), line.slice(0, line.indexOf('\t'))]));
}

async function storedKeys(server: TestServer): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of server.store.list('crates/')) keys.push(key);
  return keys;
}

describeOnStores('push', {}, (server) => {
  test('of 200 single commits makes no object in the store, and all are there', async () => {
    const { local, url } = await pushed(server());
    const before = await storedKeys(server());
    const importer = new FastImport(1_750_000_000);
    let parent: number | string = 'refs/heads/main';
    for (let i = 0; i < 200; i++) {
      parent = importer.commit('refs/heads/main', { 'src/f1.txt': `${i}\n`, [`new/${i}`]: `${i}\n` }, { parents: [parent] });
    }
    await importer.into(local);
    for (let back = 199; back >= 0; back--) await git(['push', '-q', url, `main~${back}:refs/heads/main`], { cwd: local });
    assert.deepEqual(await storedKeys(server()), before);
    const clone = join(scratchFolder(), 'c.git');
    await git(['clone', '-q', '--bare', url, clone]);
    await git(['fsck', '--full', '--strict', '--no-progress'], { cwd: clone });
    assert.deepEqual(await reachableObjects(clone, 'main'), await reachableObjects(local, 'main'));
  });

  test('a large one makes a store pack with its index beside it', async () => {
    const before = (await storedKeys(server())).length;
    const local = await syntheticHistory({ commits: 30, binaryEvery: 5, binaryBytes: 600_000, seed: 77 }).into();
    await git(['push', '-q', `${server().url}/bob/large.git`, 'main'], { cwd: local });
    const keys = await storedKeys(server());
    assert.equal(keys.filter((key) => key.endsWith('.pack')).length * 2, keys.filter((key) => /\.(pack|idx)$/.test(key)).length);
    assert.ok(keys.length >= before + 2, keys.join(' '));
  });

  test('that is no fast-forward needs force', async () => {
    const { local, url } = await pushed(server());
    const before = await remoteRefs(url);
    const rewritten = await commit(local, 'main', 'rewritten', 'refs/heads/main~3');
    assert.notEqual((await tryGit(['push', '-q', url, 'main'], { cwd: local })).status, 0);
    assert.deepEqual(await remoteRefs(url), before);
    await git(['push', '-q', '--force', url, 'main'], { cwd: local });
    assert.equal((await remoteRefs(url)).get('refs/heads/main'), rewritten);
  });

  test('deletes branches, but not the one that HEAD names', async () => {
    const { local, url } = await pushed(server());
    await git(['push', '-q', url, 'main:refs/heads/gone', 'main:refs/heads/stays'], { cwd: local });
    await git(['push', '-q', url, ':gone', ':refs/heads/never-was'], { cwd: local });
    assert.deepEqual([...(await remoteRefs(url)).keys()], ['refs/heads/main', 'refs/heads/stays']);
    assert.notEqual((await tryGit(['push', '-q', url, ':main'], { cwd: local })).status, 0);
    assert.ok((await remoteRefs(url)).has('refs/heads/main'));
  });

  test('of tags, annotated, nested, of trees and blobs', async () => {
    const { local, url } = await pushed(server());
    await git(['tag', '-a', '-m', 'one', 'one', 'main'], { cwd: local });
    await git(['tag', '-a', '-m', 'two', 'two', 'one'], { cwd: local });
    await git(['tag', '-a', '-m', 'tree', 'a-tree', 'main^{tree}'], { cwd: local });
    await git(['update-ref', 'refs/tags/blob', 'main:bin/run'], { cwd: local });
    await git(['push', '-q', url, 'one', 'two', 'a-tree', 'refs/tags/blob'], { cwd: local });
    const refs = await remoteRefs(url);
    assert.equal(refs.get('refs/tags/two^{}'), await git(['rev-parse', 'main'], { cwd: local }));
    assert.equal(refs.get('refs/tags/blob'), await git(['rev-parse', 'main:bin/run'], { cwd: local }));
    assert.equal(refs.get('refs/tags/a-tree^{}'), await git(['rev-parse', 'main^{tree}'], { cwd: local }));
    const clone = join(scratchFolder(), 'c.git');
    await git(['clone', '-q', '--mirror', url, clone]);
    await git(['fsck', '--full', '--strict', '--no-progress'], { cwd: clone });
  });

  test('of anything but a commit to a branch is refused', async () => {
    const { local, url } = await pushed(server());
    await git(['tag', '-a', '-m', 'one', 'one', 'main'], { cwd: local });
    await git(['push', '-q', url, 'one'], { cwd: local });
    const before = await remoteRefs(url);
    for (const what of ['main^{tree}', 'main:bin/run', 'one']) {
      // By hand: git's own client would not send it.
      const oid = await git(['rev-parse', what], { cwd: local });
      const { lines } = readPushAnswer(await sendPush(url, [[ZERO_OID, oid, 'refs/heads/wrong']], buildPack([])));
      assert.match(lines.join('\n'), /^ng refs\/heads\/wrong /m, what);
    }
    assert.deepEqual(await remoteRefs(url), before);
  });

  test('of many at once to one branch: exactly one wins, and nothing of the others is shown', async () => {
    const { local, url } = await pushed(server());
    const base = await git(['rev-parse', 'main'], { cwd: local });
    const tips = await Promise.all(Array.from({ length: 8 }, async (_, i) => commit(local, `try${i}`, `try${i}`, base)));
    const results = await Promise.all(tips.map((tip) => tryGit(['push', '-q', url, `${tip}:refs/heads/main`], { cwd: local })));
    const winners = tips.filter((_, i) => results[i]?.status === 0);
    assert.equal(winners.length, 1, results.map((result) => result.stderr).join('\n'));
    assert.deepEqual([...(await remoteRefs(url)).entries()], [['refs/heads/main', winners[0]]]);
  });

  test('of many at once to branches of their own: all win', async () => {
    const { local, url } = await pushed(server());
    const base = await git(['rev-parse', 'main'], { cwd: local });
    const names = Array.from({ length: 8 }, (_, i) => `own${i}`);
    for (const name of names) await commit(local, name, name, base);
    await Promise.all(names.map((name) => git(['push', '-q', url, name], { cwd: local })));
    const refs = await remoteRefs(url);
    for (const name of names) assert.equal(refs.get(`refs/heads/${name}`), await git(['rev-parse', name], { cwd: local }));
    const clone = join(scratchFolder(), 'c.git');
    await git(['clone', '-q', '--mirror', url, clone]);
    await git(['fsck', '--full', '--strict', '--no-progress'], { cwd: clone });
  });

  test('of the first commit by many at once creates one repository', async () => {
    const { local } = await pushed(server());
    const url = `${server().url}/bob/raced.git`;
    await Promise.all(Array.from({ length: 6 }, (_, i) => git(['push', '-q', url, `main:refs/heads/b${i}`], { cwd: local })));
    assert.equal((await remoteRefs(url)).size, 6);
    const rows = await server().query("select 1 from v_repositories where repository = 'bob/raced'");
    assert.equal(rows.length, 1);
  });

  test('that is atomic happens whole or not at all; one that is not, ref by ref', async () => {
    const { local, url } = await pushed(server());
    await git(['push', '-q', url, 'main:refs/heads/d/f'], { cwd: local });
    await commit(local, 'main', 'next');
    const before = await remoteRefs(url);
    const refused = ['main', 'main:refs/heads/d', 'main:refs/heads/fine'];
    assert.notEqual((await tryGit(['push', '-q', '--atomic', url, ...refused], { cwd: local })).status, 0);
    assert.deepEqual(await remoteRefs(url), before);
    assert.notEqual((await tryGit(['push', '-q', url, ...refused], { cwd: local })).status, 0);
    assert.deepEqual([...(await remoteRefs(url)).keys()], ['refs/heads/d/f', 'refs/heads/fine', 'refs/heads/main']);
    await git(['push', '-q', '--atomic', url, 'main:refs/heads/e', ':refs/heads/fine'], { cwd: local });
    assert.deepEqual([...(await remoteRefs(url)).keys()], ['refs/heads/d/f', 'refs/heads/e', 'refs/heads/main']);
  });

  test('never makes a ref both a file and a directory', async () => {
    const { local, url } = await pushed(server());
    await git(['push', '-q', url, 'main:refs/heads/a', 'main:refs/heads/p/q/r'], { cwd: local });
    for (const name of ['a/b', 'p', 'p/q', 'a/b/c']) {
      const { status, stderr } = await tryGit(['push', url, `main:refs/heads/${name}`], { cwd: local });
      assert.notEqual(status, 0, name);
      assert.match(stderr, /failed to update ref/);
    }
    // Names that only look like it.
    await git(['push', '-q', url, 'main:refs/heads/a.b', 'main:refs/heads/p-q', 'main:refs/heads/a0'], { cwd: local });
    assert.equal((await remoteRefs(url)).size, 6);
    const races = await Promise.all(
      ['n', 'n/m'].map((name) => tryGit(['push', '-q', url, `main:refs/heads/${name}`], { cwd: local })),
    );
    assert.equal(races.filter(({ status }) => status === 0).length, 1);
  });

  test('of 5,000 refs, listed and fetched', async () => {
    const { local, url } = await pushed(server());
    const tip = await git(['rev-parse', 'main'], { cwd: local });
    const names = Array.from({ length: 5000 }, (_, i) => `refs/heads/bulk/r${String(i).padStart(4, '0')}`);
    // By hand: git's client compares every name with every other and takes seconds.
    const push = (updates: RefUpdate[]) => sendPush(url, updates, buildPack([]), { capabilities: 'report-status delete-refs' });
    const { lines } = readPushAnswer(await push(names.map((name) => [ZERO_OID, tip, name])));
    assert.deepEqual(lines, ['unpack ok', ...names.map((name) => `ok ${name}`)]);
    assert.equal((await remoteRefs(url)).size, 5001);
    const clone = join(scratchFolder(), 'c.git');
    await git(['clone', '-q', '--mirror', url, clone]);
    assert.equal((await git(['for-each-ref', '--format=%(refname)'], { cwd: clone })).split('\n').length, 5001);
    assert.equal(refusalOf(await push(names.slice(0, 500).map((name) => [tip, ZERO_OID, name]))), undefined);
    assert.deepEqual([...(await remoteRefs(url)).keys()], [...names.slice(500), 'refs/heads/main']);
  });

  test('of names that git forbids is refused, name by name', async () => {
    const { local, url } = await pushed(server());
    const tip = await git(['rev-parse', 'main'], { cwd: local });
    const bad = [
      'refs/heads/a..b',
      'refs/heads/.x',
      'refs/heads/x.lock',
      'refs/heads/a b',
      'refs/heads/a~1',
      'refs/../x',
      'config',
      'refs/heads/x/',
    ];
    for (const name of bad) {
      const { lines } = readPushAnswer(await sendPush(url, [[ZERO_OID, tip, name]], buildPack([])));
      assert.match(lines.join('\n'), /^ng /m, name);
    }
    assert.deepEqual([...(await remoteRefs(url)).keys()], ['refs/heads/main']);
  });

  test('of names that read as options is taken as git takes it, and nobody reads them as such', async () => {
    const { local, url } = await pushed(server());
    const tip = await git(['rev-parse', 'main'], { cwd: local });
    const names = ['refs/heads/--upload-pack=touch%20pwned', 'refs/heads/-x', 'refs/tags/--help', 'refs/tags/-oProxyCommand=x'];
    const { lines } = readPushAnswer(
      await sendPush(
        url,
        names.map((name) => [ZERO_OID, tip, name]),
        buildPack([]),
      ),
    );
    assert.deepEqual(lines, ['unpack ok', ...names.map((name) => `ok ${name}`)]);
    const folder = scratchFolder();
    await git(['clone', '-q', '--mirror', url, join(folder, 'clone.git')]);
    const { code, stderr } = await server().packhouse('eject', new URL(url).pathname.slice(1, -4), join(folder, 'eject.git'));
    assert.equal(code, 0, stderr);
    for (const copy of ['clone.git', 'eject.git']) {
      const refs = await git(['for-each-ref', '--format=%(refname)'], { cwd: join(folder, copy) });
      assert.deepEqual(refs.split('\n'), [...names, 'refs/heads/main'].sort());
    }
    // The server starts no program, so there is nothing to which a name could be an option.
    assert.deepEqual(readdirSync(folder).sort(), ['clone.git', 'eject.git']);
  });

  test('with options, thin and from a shallow clone', async () => {
    const { local, url } = await pushed(server());
    await commit(local, 'main', 'with-options');
    await git(['push', '-q', '--push-option=ci.skip', '--push-option=a=b', url, 'main'], { cwd: local });
    const [row] = await server().query<{ options: string[] }>('select options from pushes order by id desc limit 1');
    assert.deepEqual(row?.options, ['ci.skip', 'a=b']);
    const shallow = join(scratchFolder(), 's.git');
    await git(['clone', '-q', '--bare', '--depth=1', url, shallow]);
    const tip = await commit(shallow, 'main', 'from-shallow');
    await git(['push', '-q', url, 'main'], { cwd: shallow });
    assert.equal((await remoteRefs(url)).get('refs/heads/main'), tip);
    // Its history ends where nobody else's does: another repository cannot take it.
    const other = `${server().url}/bob/no-shallow.git`;
    const { status, stderr } = await tryGit(['push', other, 'main'], { cwd: shallow });
    assert.notEqual(status, 0);
    assert.match(stderr, /shallow update not allowed/);
  });
});
