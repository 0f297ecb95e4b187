import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  describeOnAStore,
  git,
  makeRepository,
  reachableObjects,
  refLines,
  scratchFolder,
  seededBytes,
  syntheticHistory,
} from '../../../internal/testkit/mod.ts';

const WITH_GIT = { PATH: process.env.PATH ?? '', PACKHOUSE_REFS_HIDDEN: 'refs/hidden' };

describeOnAStore('a repository that is taken in and given back', { env: WITH_GIT }, (server) => {
  const run = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await server().packhouse(...args);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const refused = async (...args: string[]): Promise<string> => {
    const { code, stderr } = await server().packhouse(...args);
    assert.equal(code, 1, stderr);
    return stderr;
  };
  /** Nothing but what the refs reach, in one pack whose index is git's own. */
  async function isSame(folder: string, source: string): Promise<void> {
    await git(['fsck', '--strict', '--full'], { cwd: folder });
    assert.equal(await refLines(folder), await refLines(source));
    assert.deepEqual(await reachableObjects(folder), await reachableObjects(source));
    assert.equal(await git(['symbolic-ref', 'HEAD'], { cwd: folder }), await git(['symbolic-ref', 'HEAD'], { cwd: source }));
    const files = readdirSync(join(folder, 'objects', 'pack')).sort();
    assert.deepEqual(
      files.map((name) => name.replace(/^pack-.*\./, '')),
      ['idx', 'pack'],
    );
    assert.deepEqual(readdirSync(join(folder, 'objects')).sort(), ['info', 'pack']);
    const [idx, pack] = files.map((name) => join(folder, 'objects', 'pack', name));
    const again = join(scratchFolder('idx'), 'again.idx');
    await git(['index-pack', '-o', again, pack!], { cwd: folder });
    await git(['diff', '--no-index', '--quiet', idx!, again]);
  }

  test('is the same repository', async () => {
    const source = await syntheticHistory({ commits: 30, seed: 5 }).into();
    await git(['update-ref', 'refs/heads/nested/ü', 'main~3'], { cwd: source });
    await git(['tag', '-a', '-m', 'a tag', 'v1', 'main~2'], { cwd: source });
    await git(['tag', '-a', '-m', 'a tag of a tag', 'v1-again', 'v1'], { cwd: source });
    await git(['tag', 'a-tree', 'main^{tree}'], { cwd: source });
    await git(['tag', '-a', '-m', 'of a file', 'a-file', 'main:bin/run'], { cwd: source });
    await git(['symbolic-ref', 'HEAD', 'refs/heads/nested/ü'], { cwd: source });
    assert.match(await run('import', source, 'in/out'), /^imported \d+ refs into in\/out, HEAD refs\/heads\/nested\/ü\n$/);
    const folder = join(scratchFolder('eject'), 'out.git');
    assert.match(await run('eject', 'in/out', folder), /git has checked it/);
    await isSame(folder, source);
    const clone = scratchFolder('clone');
    await git(['clone', '-q', '--mirror', `${server().url}/in/out.git`, clone]);
    assert.equal(await refLines(clone), await refLines(source));
    assert.match(await refused('import', source, 'in/out'), /exists and has refs/);
  });

  test('that is large goes through files, and a URL is cloned', async () => {
    const source = await makeRepository();
    const blobs = await Promise.all(
      Array.from({ length: 6 }, (_, i) => git(['hash-object', '-w', '--stdin'], { cwd: source, input: seededBytes(i, 3 << 20) })),
    );
    const tree = await git(['mktree'], { cwd: source, input: blobs.map((oid, i) => `100644 blob ${oid}\tf${i}\n`).join('') });
    await git(['update-ref', 'refs/heads/main', await git(['commit-tree', '-m', 'large', tree], { cwd: source })], {
      cwd: source,
    });
    await run('import', `file://${source}`, 'in/large');
    const folder = scratchFolder('eject');
    const said = JSON.parse(await run('eject', 'in/large', folder, '--json'));
    assert.deepEqual([said.refs, said.objects, said.checked_by_git], [1, 8, true]);
    await isSame(folder, source);
  });

  test('of SHA-256, and one without a commit, go the same way', async () => {
    const source = await makeRepository('sha256');
    const tree = await git(['mktree'], { cwd: source, input: '' });
    await git(['update-ref', 'refs/heads/main', await git(['commit-tree', '-m', 'one', tree], { cwd: source })], { cwd: source });
    await run('import', source, 'in/sha256', '--private');
    const folder = scratchFolder('eject');
    await run('eject', 'in/sha256', folder);
    await isSame(folder, source);
    assert.match(await run('repo', 'show', 'in/sha256'), /private/);
    const empty = await makeRepository();
    await git(['symbolic-ref', 'HEAD', 'refs/heads/trunk'], { cwd: empty });
    await run('import', empty, 'in/empty');
    const emptied = scratchFolder('eject');
    await run('eject', 'in/empty', emptied);
    assert.equal(await git(['symbolic-ref', 'HEAD'], { cwd: emptied }), 'refs/heads/trunk');
    assert.equal(await refLines(emptied), '');
  });

  test('leaves hidden refs and a stash behind when it comes in', async () => {
    const source = await syntheticHistory({ commits: 2, seed: 6 }).into();
    await git(['update-ref', 'refs/hidden/x', 'main'], { cwd: source });
    // What a working copy keeps for itself is no ref that a server takes.
    await git(['update-ref', 'refs/stash', 'HEAD'], { cwd: source });
    await run('import', source, 'in/hidden');
    const folder = scratchFolder('eject');
    await run('eject', 'in/hidden', folder);
    assert.doesNotMatch(await refLines(folder), /hidden/);
  });

  test('is refused whole when it cannot be had whole, and nothing stays', async () => {
    const source = await syntheticHistory({ commits: 5, seed: 7 }).into();
    const shallow = scratchFolder('shallow');
    await git(['clone', '-q', '--bare', '--depth', '1', `file://${source}`, shallow]);
    assert.match(await refused('import', shallow, 'in/shallow'), /is shallow/);
    assert.match(await refused('import', join(source, 'nowhere'), 'in/nowhere'), /git rev-parse failed/);
    const bad = await makeRepository();
    const blob = await git(['hash-object', '-w', '--stdin'], { cwd: bad, input: 'x' });
    const tree = await git(['mktree', '--missing'], { cwd: bad, input: `100644 blob ${blob}\t.git\n` });
    const commit = await git(['commit-tree', '-m', 'bad', tree], { cwd: bad });
    await git(['update-ref', 'refs/heads/main', commit], { cwd: bad });
    assert.match(await refused('import', bad, 'in/bad'), /hasDotgit/);
    for (const name of ['in/shallow', 'in/nowhere', 'in/bad']) await refused('repo', 'show', name);
  });

  test('is not written over something else', async () => {
    const folder = scratchFolder('taken');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'file'), 'mine');
    assert.match(await refused('eject', 'in/out', folder), /is not empty/);
    assert.match(await refused('eject', 'in/nowhere', join(folder, 'x')), /no repository in\/nowhere/);
    assert.equal(existsSync(join(folder, 'x')), false);
  });
});

describeOnAStore('without git', {}, (server) => {
  test('a repository is given back unchecked, and none is taken in', async () => {
    const source = await syntheticHistory({ commits: 3, seed: 8 }).into();
    await git(['push', '-q', `${server().url}/no/git.git`, 'main'], { cwd: source });
    const folder = scratchFolder('eject');
    const { code, stdout } = await server().packhouse('eject', 'no/git', folder);
    assert.equal(code, 0);
    assert.match(stdout, /there is no git here/);
    await git(['fsck', '--strict', '--full'], { cwd: folder });
    assert.deepEqual(await reachableObjects(folder), await reachableObjects(source, 'main'));
    assert.match((await server().packhouse('import', source, 'no/way')).stderr, /git is not installed/);
  });
});
