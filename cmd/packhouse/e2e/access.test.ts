import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  FastImport,
  fetchCommand,
  git,
  scratchFolder,
  seededBytes,
  sendFetch,
  startServer,
  syntheticHistory,
  type TestServer,
  tryGit,
  wireRequest,
} from '../../../internal/testkit/mod.ts';

const ADVERTISE = '/info/refs?service=git-upload-pack';

describe('access by token', () => {
  let server: TestServer;
  let local: string;
  const tokens: Record<string, string> = {};

  before(async () => {
    server = await startServer({ flags: ['--auth-mode', 'token'], env: { PACKHOUSE_AUTH_MODE: 'token' } });
    local = await syntheticHistory({ commits: 8 }).into();
    const create = async (name: string, ...args: string[]): Promise<void> => {
      const { stdout, stderr, code } = await server.packhouse('token', 'create', name, ...args);
      assert.equal(code, 0, stderr);
      tokens[name] = stdout.trim();
    };
    await create('writer', '--scope', 'write', '--owner', 'gina');
    await create('reader', '--scope', 'read', '--owner', 'gina');
    await create('stranger', '--scope', 'write', '--owner', 'hugo');
    assert.equal((await server.packhouse('repo', 'create', 'gina/secret', '--private')).code, 0);
    await git(['push', '-q', urlAs('writer', 'gina/secret'), 'main'], { cwd: local });
    await git(['push', '-q', urlAs('writer', 'gina/open'), 'main'], { cwd: local });
  });
  after(async () => {
    await server?.close();
  });

  function urlAs(token: string, repository: string): string {
    return `${server.url.replace('//', `//any:${tokens[token] ?? token}@`)}/${repository}.git`;
  }

  function basic(token: string): Record<string, string> {
    return { Authorization: `Basic ${Buffer.from(`any:${tokens[token] ?? token}`).toString('base64')}` };
  }

  test('a push without a token is asked for one, so that credential helpers work', async () => {
    const url = `${server.url}/gina/open.git`;
    const answer = await wireRequest(`${url}/info/refs?service=git-receive-pack`);
    assert.equal(answer.status, 401);
    assert.match(String(answer.headers['www-authenticate']), /^Basic realm=/);
    assert.notEqual((await tryGit(['push', '-q', url, 'main:refs/heads/x'], { cwd: local })).status, 0);
    const helper = `credential.helper=!f() { echo username=any; echo password=${tokens.writer}; }; f`;
    await git(['-c', helper, 'push', '-q', url, 'main:refs/heads/helped'], { cwd: local });
    assert.match(await git(['ls-remote', url]), /helped/);
  });

  test('a token of read scope reads but does not write; one that nobody made does neither', async () => {
    assert.match(await git(['ls-remote', urlAs('reader', 'gina/secret')]), /refs\/heads\/main/);
    const { status, stderr } = await tryGit(['push', urlAs('reader', 'gina/secret'), 'main:refs/heads/x'], { cwd: local });
    assert.notEqual(status, 0);
    assert.match(stderr, /403/);
    for (const token of ['pkh_0123456789012345678901234567890123456789', 'nonsense', '']) {
      const answer = await wireRequest(`${server.url}/gina/open.git/info/refs?service=git-receive-pack`, {
        headers: basic(token),
      });
      assert.equal(answer.status, 401, token);
    }
    assert.doesNotMatch(await git(['ls-remote', urlAs('reader', 'gina/secret')]), /heads\/x/);
  });

  test('a private repository reads as a missing one, for nobody and for a token of somebody else', async () => {
    for (const headers of [{}, basic('stranger')]) {
      for (const service of ['git-upload-pack', 'git-receive-pack']) {
        const ask = (name: string) => wireRequest(`${server.url}/gina/${name}.git/info/refs?service=${service}`, { headers });
        const [hidden, missing] = [await ask('secret'), await ask('missing')];
        const facts = ({ status, headers: { 'content-type': type, 'www-authenticate': asks }, body }: typeof hidden) => ({
          status,
          type,
          asks,
          body: body.toString(),
        });
        assert.deepEqual(facts(hidden), facts(missing));
        assert.ok(hidden.status >= 400, `${service} answered ${hidden.status}`);
        const post = (name: string) => sendFetch(`${server.url}/gina/${name}.git`, fetchCommand(['ab'.repeat(20)]), { headers });
        assert.deepEqual(facts(await post('secret')), facts(await post('missing')));
      }
    }
  });

  test('a public repository is read without a token', async () => {
    await git(['clone', '-q', `${server.url}/gina/open.git`, join(scratchFolder(), 'c')]);
  });

  test('a revoked token ends', async () => {
    const { stdout } = await server.packhouse('token', 'create', 'short', '--scope', 'write');
    const headers = basic(stdout.trim());
    const url = `${server.url}/gina/secret.git${ADVERTISE}`;
    assert.equal((await wireRequest(url, { headers })).status, 200);
    assert.equal((await server.packhouse('token', 'revoke', 'short')).code, 0);
    const deadline = performance.now() + 20_000;
    while ((await wireRequest(url, { headers })).status !== 401) {
      assert.ok(performance.now() < deadline, 'the token still works');
      await sleep(100);
    }
  });

  test('no token is in the log', () => {
    assert.ok(server.log().length > 0);
    for (const token of Object.values(tokens)) assert.ok(!server.log().includes(token));
  });
});

describe('the command line beside a running server', () => {
  let server: TestServer;
  let local: string;
  before(async () => {
    server = await startServer();
    local = await syntheticHistory({ commits: 8 }).into();
  });
  after(async () => {
    await server?.close();
  });

  test('lists what was pushed, and what is in force', async () => {
    await git(['push', '-q', `${server.url}/ida/demo.git`, 'main'], { cwd: local });
    const list = JSON.parse((await server.packhouse('repo', 'list', '--json')).stdout) as { repository: string }[];
    assert.deepEqual(
      list.map((row) => row.repository),
      ['ida/demo'],
    );
    const print = await server.packhouse('config', 'print', '--effective', '--json');
    const rows = JSON.parse(print.stdout) as { key: string; value: string; source: string }[];
    assert.equal(rows.find((row) => row.key === 'data.dir')?.value, server.dataDir);
    assert.equal(rows.find((row) => row.key === 'data.dir')?.source, 'PACKHOUSE_DATA_DIR');
  });

  test('renames a repository: the old name is gone at once, the new one serves', async () => {
    const [from, to] = [`${server.url}/ida/old.git`, `${server.url}/jo/new.git`];
    await git(['push', '-q', from, 'main'], { cwd: local });
    assert.equal((await server.packhouse('repo', 'rename', 'ida/old', 'jo/new')).code, 0);
    assert.equal((await wireRequest(from + ADVERTISE)).status, 404);
    assert.match(await git(['ls-remote', to]), /refs\/heads\/main/);
    await git(['push', '-q', to, 'main:refs/heads/later'], { cwd: local });
    await git(['clone', '-q', to, join(scratchFolder(), 'c')]);
  });

  test('deletes a repository: its name starts afresh, and its objects are not served there', async () => {
    const url = `${server.url}/ida/doomed.git`;
    await git(['push', '-q', url, 'main'], { cwd: local });
    assert.equal((await server.packhouse('repo', 'delete', 'ida/doomed')).code, 0);
    assert.equal((await wireRequest(url + ADVERTISE)).status, 404);
    const root = await git(['rev-list', '--max-parents=0', 'main'], { cwd: local });
    await git(['push', '-q', url, `${root}:refs/heads/main`], { cwd: local });
    const tip = await git(['rev-parse', 'main'], { cwd: local });
    assert.match((await sendFetch(url, fetchCommand([tip]))).body.toString(), new RegExp(`not our ref ${tip}`));
    assert.doesNotMatch((await sendFetch(url, fetchCommand([root]))).body.toString('latin1'), /not our ref/);
  });

  test('sets the branch that a clone checks out', async () => {
    const url = `${server.url}/ida/head.git`;
    await git(['push', '-q', url, 'main', 'main~2:refs/heads/next'], { cwd: local });
    assert.equal((await server.packhouse('repo', 'set-head', 'ida/head', 'next')).code, 0);
    assert.match(await git(['ls-remote', '--symref', url]), /^ref: refs\/heads\/next\tHEAD/);
    const folder = join(scratchFolder(), 'c');
    await git(['clone', '-q', url, folder]);
    assert.equal(await git(['symbolic-ref', 'HEAD'], { cwd: folder }), 'refs/heads/next');
  });

  test('a clone that runs when SIGTERM comes is finished', async () => {
    const importer = new FastImport();
    importer.commit('refs/heads/main', { big: seededBytes(4, 24 * 2 ** 20) }, { parents: [] });
    const big = await importer.into();
    const url = `${server.url}/ida/big.git`;
    await git(['push', '-q', url, 'main'], { cwd: big });
    const tip = await git(['rev-parse', 'main'], { cwd: big });
    const answer = await fetch(`${url}/git-upload-pack`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/x-git-upload-pack-request', 'Git-Protocol': 'version=2' },
      body: new Uint8Array(fetchCommand([tip])),
    });
    const reader = answer.body?.getReader();
    assert.ok(reader);
    let received = (await reader.read()).value?.length ?? 0;
    const stopped = server.stop();
    await sleep(300);
    let last: Uint8Array = new Uint8Array();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      received += part.value.length;
      last = part.value;
    }
    assert.ok(received > 24 * 2 ** 20);
    assert.equal(Buffer.from(last).subarray(-4).toString(), '0000', 'the answer is whole');
    assert.equal(await stopped, 0);
    await server.restart();
  });

  test('a server that drains says so, and ends with 0', async () => {
    assert.equal((await wireRequest(`${server.url}/livez`)).status, 200);
    assert.match((await wireRequest(`${server.url}/metrics`)).body.toString(), /^# HELP /m);
    assert.equal(await server.stop(), 0);
    await assert.rejects(wireRequest(`${server.url}/livez`));
    await server.restart();
    assert.match(await git(['ls-remote', `${server.url}/ida/demo.git`]), /refs\/heads\/main/);
  });
});
