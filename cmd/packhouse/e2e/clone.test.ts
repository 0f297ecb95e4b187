import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import {
  describeOnStores,
  FastImport,
  git,
  npmHistory,
  reachableObjects,
  refLines,
  scratchFolder,
  syntheticHistory,
  tryGit,
} from '../../../internal/testkit/mod.ts';

const VERSIONS = ['0.1.0', '0.3.0', '0.5.1', '0.6.2', '0.7.0', '0.7.3', '1.0.0', '2.0.0', '2.1.0', '2.1.1', '2.1.2', '2.1.3'];

/** Every object of a repository, reachable or not, as lines of oid, kind and size. */
async function allObjects(cwd: string): Promise<string[]> {
  const args = ['cat-file', '--batch-all-objects', '--batch-check', '--unordered'];
  return [...new Set((await git(args, { cwd })).split('\n'))].sort();
}

function shallowLines(cwd: string): string[] {
  const path = join(cwd, 'shallow');
  return existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n').sort() : [];
}

describeOnStores('clone', {}, (server) => {
  let source: string;
  let url: string;
  before(async () => {
    source = await syntheticHistory({ commits: 300 }).into();
    await git(['config', 'uploadpack.allowFilter', 'true'], { cwd: source });
    await git(['config', 'uploadpack.allowAnySHA1InWant', 'true'], { cwd: source });
    url = `${server().url}/alice/synthetic.git`;
    await git(['push', '-q', '--mirror', url], { cwd: source });
  });

  test('gives back every object and ref that was pushed', async () => {
    const folder = join(scratchFolder(), 'clone.git');
    await git(['clone', '-q', '--mirror', url, folder]);
    await git(['fsck', '--full', '--strict', '--no-progress'], { cwd: folder });
    assert.deepEqual(await reachableObjects(folder), await reachableObjects(source));
    assert.equal(await refLines(folder), await refLines(source));
    assert.ok((await reachableObjects(source)).length > 1500, 'a history worth cloning');
  });

  test('checks out the pushed files, without .git in the URL too', async () => {
    const folder = join(scratchFolder(), 'work');
    await git(['clone', '-q', url.replace(/\.git$/, ''), folder]);
    assert.equal(
      await git(['rev-parse', 'HEAD^{tree}'], { cwd: folder }),
      await git(['rev-parse', 'main^{tree}'], { cwd: source }),
    );
    assert.equal(await git(['status', '--porcelain'], { cwd: folder }), '');
  });

  const KINDS: readonly (readonly string[])[] = [
    ['--depth=1'],
    ['--depth=7', '--no-single-branch'],
    ['--shallow-since=1700060000 +0000'],
    ['--shallow-exclude=v124'],
    ['--single-branch', '--branch=side', '--no-tags'],
    ['--filter=blob:none'],
    ['--filter=blob:limit=200'],
    ['--filter=tree:0'],
    ['--filter=tree:2'],
    ['--filter=combine:blob:limit=500+tree:3'],
    ['--depth=3', '--filter=blob:none'],
  ];
  for (const version of [0, 1, 2]) {
    test(`shallow and partial clones hold what git's own server gives (version ${version})`, async () => {
      for (const kind of KINDS) {
        const folders = await Promise.all(
          [url, `file://${source}`].map(async (from) => {
            const folder = join(scratchFolder(), 'clone.git');
            await git(['-c', `protocol.version=${version}`, 'clone', '-q', '--bare', ...kind, from, folder]);
            return folder;
          }),
        );
        const [ours = '', theirs = ''] = folders;
        assert.deepEqual(await allObjects(ours), await allObjects(theirs), kind.join(' '));
        assert.deepEqual(shallowLines(ours), shallowLines(theirs), kind.join(' '));
        assert.equal(await refLines(ours), await refLines(theirs), kind.join(' '));
      }
    });
  }

  test('a shallow clone deepens to the whole, and fetches what comes later', async () => {
    const folder = join(scratchFolder(), 'clone.git');
    await git(['clone', '-q', '--bare', '--depth=2', url, folder]);
    await git(['fetch', '-q', '--deepen=5', url, 'main:main'], { cwd: folder });
    assert.ok(shallowLines(folder).length > 0);
    await git(['fetch', '-q', '--unshallow', url, '+refs/*:refs/*'], { cwd: folder });
    assert.deepEqual(shallowLines(folder), []);
    assert.deepEqual(await reachableObjects(folder), await reachableObjects(source));
    const more = new FastImport(1_800_000_000);
    more.commit('refs/heads/later', { later: 'later\n' }, { parents: ['refs/heads/main'] });
    await more.into(source);
    await git(['push', '-q', url, 'later'], { cwd: source });
    await git(['fetch', '-q', url, 'later:later'], { cwd: folder });
    assert.equal(await git(['rev-parse', 'later'], { cwd: folder }), await git(['rev-parse', 'later'], { cwd: source }));
    await git(['fsck', '--full', '--strict', '--no-progress'], { cwd: folder });
  });

  test('a partial clone gets what it lacks when it needs it', async () => {
    const folder = join(scratchFolder(), 'work');
    await git(['clone', '-q', '--filter=blob:none', '--no-checkout', url, folder]);
    const missing = await git(['rev-list', '--objects', '--all', '--missing=print'], { cwd: folder });
    assert.match(missing, /^\?/m);
    await git(['checkout', '-q', 'main'], { cwd: folder });
    assert.equal(await git(['status', '--porcelain'], { cwd: folder }), '');
  });

  test('real content, pushed version by version, comes back whole', async () => {
    const history = await (await npmHistory('ms', VERSIONS)).into();
    const target = `${server().url}/alice/ms.git`;
    for (const version of VERSIONS) {
      await git(['push', '-q', target, `v${version}^0:refs/heads/main`, `v${version}`], { cwd: history });
    }
    const folder = join(scratchFolder(), 'clone.git');
    await git(['clone', '-q', '--mirror', target, folder]);
    await git(['fsck', '--full', '--strict', '--no-progress'], { cwd: folder });
    assert.deepEqual(await reachableObjects(folder), await reachableObjects(history));
    assert.equal(await refLines(folder), await refLines(history));
  });

  test('of a repository that nobody pushed is refused', async () => {
    const { status, stderr } = await tryGit(['clone', '-q', `${server().url}/alice/none.git`, join(scratchFolder(), 'c')]);
    assert.equal(status, 128);
    assert.match(stderr, /not found/);
  });

  test('a repository of SHA-256 is pushed, cloned and fetched; a client of SHA-1 is refused by it', async () => {
    const history = await syntheticHistory({ commits: 60, seed: 5 }).into(undefined, 'sha256');
    const target = `${server().url}/alice/long-oids.git`;
    await git(['push', '-q', target, 'refs/*:refs/*'], { cwd: history });
    const folder = join(scratchFolder(), 'clone.git');
    await git(['clone', '-q', '--mirror', target, folder]);
    assert.equal(await git(['rev-parse', '--show-object-format'], { cwd: folder }), 'sha256');
    await git(['fsck', '--full', '--strict', '--no-progress'], { cwd: folder });
    assert.deepEqual(await reachableObjects(folder), await reachableObjects(history));
    const more = new FastImport(1_800_000_000);
    more.commit('refs/heads/main', { more: 'm\n' }, { parents: ['refs/heads/main'] });
    await more.into(history);
    await git(['push', '-q', target, 'main'], { cwd: history });
    await git(['fetch', '-q', '--prune', target, '+refs/*:refs/*'], { cwd: folder });
    assert.deepEqual(await reachableObjects(folder), await reachableObjects(history));
    const { status } = await tryGit(['push', '-q', target, 'main:refs/heads/short'], { cwd: source });
    assert.notEqual(status, 0);
    assert.doesNotMatch(await git(['ls-remote', target]), /short/);
  });
});
