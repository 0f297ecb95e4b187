import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, test } from 'node:test';
import {
  describeOnAStore,
  fetchCommand,
  git,
  readPackets,
  scratchFolder,
  sendFetch,
  syntheticHistory,
  tryGit,
  wireRequest,
} from '../../../internal/testkit/mod.ts';

/** What users of git do less often, and what git's own server lets them do. */
describeOnAStore('habits of users', {}, (server) => {
  let local: string;
  let url: string;
  let left: string;

  before(async () => {
    local = await syntheticHistory({ commits: 40 }).into();
    url = `${server().url}/hana/habits.git`;
    await git(['push', '-q', url, 'main', 'main:refs/heads/other'], { cwd: local });
    left = await git(['rev-parse', 'main'], { cwd: local });
  });

  test('who has cloned without blobs checks out a commit that a forced push left behind', async () => {
    const clone = join(scratchFolder(), 'partial');
    await git(['clone', '-q', '--no-checkout', '--filter=tree:0', '--branch=other', url, clone]);
    await git(['push', '-q', '--force', url, 'main~20:refs/heads/main', 'main~20:refs/heads/other'], { cwd: local });
    await git(['fetch', '-q', 'origin'], { cwd: clone });
    await git(['checkout', '-q', '--detach', left], { cwd: clone });
    assert.equal(await git(['status', '--porcelain'], { cwd: clone }), '');
    const wanted = await git(['rev-parse', `${left}^{tree}`], { cwd: local });
    assert.equal(await git(['write-tree'], { cwd: clone }), wanted);
  });

  test('a push that negotiates builds on what is there, not on what a forced push left behind', async () => {
    const work = join(scratchFolder(), 'work');
    await git(['clone', '-q', '--no-local', local, work]);
    await git(['commit', '-q', '--allow-empty', '-m', 'on what was left'], { cwd: work });
    await git(['-c', 'push.negotiate=true', 'push', '-q', url, 'HEAD:refs/heads/negotiated'], { cwd: work });
    const tip = await git(['rev-parse', 'HEAD'], { cwd: work });
    assert.match(await git(['ls-remote', url, 'refs/heads/negotiated']), new RegExp(`^${tip}\t`));
  });

  test('a clone goes on when a branch is deleted after it was listed', async () => {
    const { body } = await wireRequest(`${url}/info/refs?service=git-upload-pack`, { headers: { 'Git-Protocol': 'version=2' } });
    const capabilities = readPackets(body).map((packet) => packet?.toString().trim());
    assert.ok(capabilities.includes('fetch=shallow wait-for-done filter sideband-all'), `${capabilities}`);
    const byName = async (name: string) => (await sendFetch(url, fetchCommand([], [], [`want-ref ${name}`, 'done']))).body;
    assert.match((await byName('refs/heads/main')).toString('latin1'), /wanted-refs[\s\S]*PACK/);
    assert.match((await byName('HEAD')).toString('latin1'), /wanted-refs[\s\S]*PACK/);
    assert.match((await byName('refs/heads/gone')).toString('latin1'), /ERR unknown ref refs\/heads\/gone/);
  });

  test('what is outside HEAD is fetched', async () => {
    const clone = join(scratchFolder(), 'outside.git');
    await git(['init', '-q', '--bare', clone]);
    await git(['fetch', '-q', '--shallow-exclude=HEAD', url, 'refs/heads/negotiated'], { cwd: clone });
    const newer = Number(await git(['rev-list', '--count', `main~20..${left}`], { cwd: local }));
    assert.equal(await git(['rev-list', '--count', 'FETCH_HEAD'], { cwd: clone }), String(newer + 1));
  });

  test('a sparse specification is found by the commit that has it', async () => {
    const commit = await git(['rev-parse', 'main~20'], { cwd: local });
    const tree = await git(['rev-parse', 'main~20^{tree}'], { cwd: local });
    const path = (await git(['ls-tree', '-r', '--name-only', commit], { cwd: local })).split('\n')[0]!;
    const blob = await git(['rev-parse', `${commit}:${path}`], { cwd: local });
    for (const name of [`${commit}:${path}`, `${tree}:${path}`, blob, blob.toUpperCase()]) {
      const answer = await sendFetch(url, fetchCommand([commit], [], [`filter sparse:oid=${name}`, 'done']));
      assert.match(answer.body.toString('latin1'), /packfile[\s\S]*PACK/, name);
    }
    for (const name of [`${commit}:none`, `${blob}:x`, `${tree}:`, tree]) {
      const none = await sendFetch(url, fetchCommand([commit], [], [`filter sparse:oid=${name}`, 'done']));
      assert.match(none.body.toString('latin1'), /ERR .*unable to access sparse blob/, name);
    }
  });

  test('a push of too many options is told so', async () => {
    const options = Array.from({ length: 1001 }, (_, i) => `--push-option=${i}`);
    const { status, stderr } = await tryGit(['push', ...options, url, 'main:refs/heads/options'], { cwd: local });
    assert.notEqual(status, 0);
    assert.match(stderr, /remote: .*push options.*1000/);
    assert.doesNotMatch(stderr, /protocol error/);
  });

  test('a branch that no clone could make a file of is refused, and others of its push are not', async () => {
    const long = `refs/heads/a/${'x'.repeat(251)}`;
    const { stderr } = await tryGit(['push', url, `main~20:${long}`, 'main~20:refs/heads/short'], { cwd: local });
    assert.match(stderr, /! \[remote rejected\] .* \(failed to update ref\)/);
    assert.equal((await git(['ls-remote', url, 'refs/heads/short', long])).split('\n').length, 1);
    await git(['push', '-q', url, `main~20:${long.slice(0, -1)}`], { cwd: local });
  });

  test('credentials of another kind mean nothing where nobody asks for any', async () => {
    await git(['-c', 'http.extraHeader=Authorization: Bearer x', 'ls-remote', url]);
  });

  test('a client that may know SHA-1 alone finds it where a repository is yet to be made', async () => {
    const listed = async (userAgent: string) => {
      const headers = { 'User-Agent': userAgent };
      const asked = `${server().url}/hana/fresh.git/info/refs?service=git-receive-pack`;
      return (await wireRequest(asked, { headers })).body.toString('latin1');
    };
    assert.match(
      await listed('git/2.0 (libgit2 1.7.1)'),
      /^001f# service=git-receive-pack\n0000[0-9a-f]{4}0{40} capabilities\^\{\}\0/,
    );
    assert.match(await listed('go-git/5.x'), /0{40} capabilities\^\{\}\0[^\n]* object-format=sha1 /);
    assert.match(await listed('git/2.39.5'), /0{64} capabilities\^\{\}\0[^\n]* object-format=sha256 object-format=sha1 /);
    for (const format of ['sha1', 'sha256']) {
      const fresh = join(scratchFolder(), format);
      await git(['init', '-q', `--object-format=${format}`, fresh]);
      await git(['commit', '-q', '--allow-empty', '-m', format], { cwd: fresh });
      await git(['push', '-q', `${server().url}/hana/${format}.git`, 'main'], { cwd: fresh });
    }
  });
});
