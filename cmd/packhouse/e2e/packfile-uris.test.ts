import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  FastImport,
  fetchCommand,
  git,
  makeRepository,
  reachableObjects,
  readPackets,
  refLines,
  scratchFolder,
  sendFetch,
  startServer,
  type TestServer,
  testStores,
  wireRequest,
} from '../../../internal/testkit/mod.ts';

const BY_URI = ['-c', 'fetch.uriprotocols=http,https'];
const FILES = 30;
const FILE_BYTES = 50_000;
const TEXT = Array.from({ length: 4000 }, (_, i) => `line ${i} ${i * 7919}\n`).join('');

const ON_CEPH = testStores().includes('s3');

describe('packs by signed URLs (s3)', { skip: !ON_CEPH }, () => {
  let server: TestServer;
  let source: string;
  let url: string;

  before(async () => {
    const env = { PACKHOUSE_FETCH_PACKFILE_URIS: 'true', PACKHOUSE_FETCH_PACKFILE_URIS_BYTES_MIN: '200KiB' };
    server = await startServer({ store: 's3', env });
    source = await makeRepository();
    const files = Object.fromEntries(Array.from({ length: FILES }, (_, i) => [`${i}.bin`, randomBytes(FILE_BYTES)]));
    const history = new FastImport();
    const first = history.commit('refs/heads/main', { ...files, text: TEXT }, { parents: [] });
    history.tag('v1', first);
    await history.into(source);
    url = `${server.url}/alice/uris.git`;
    await git(['push', '-q', '--mirror', url], { cwd: source });
    // A thin pack in the tail: its delta is based on what comes by URL.
    const next = new FastImport(1_800_000_000);
    next.commit('refs/heads/main', { text: `${TEXT}one more\n` }, { parents: ['refs/heads/main'] });
    await next.into(source);
    await git(['push', '-q', url, 'main'], { cwd: source });
  });

  after(async () => {
    await server?.close();
  });

  async function cloneOf(...args: readonly string[]): Promise<{ folder: string; packs: number; sentBytes: number }> {
    const folder = join(scratchFolder(), 'clone.git');
    const before = await sentBytes(server);
    await git([...args.slice(0, -1), 'clone', '-q', '--mirror', args.at(-1) ?? url, folder]);
    await git(['fsck', '--full', '--strict', '--no-progress'], { cwd: folder });
    const packs = readdirSync(join(folder, 'objects/pack')).filter((name) => name.endsWith('.pack')).length;
    return { folder, packs, sentBytes: (await sentBytes(server)) - before };
  }

  test('a client that asks for them gets all, and most of it past the server', async () => {
    const { folder, packs, sentBytes: bytes } = await cloneOf(...BY_URI, url);
    assert.deepEqual(await reachableObjects(folder), await reachableObjects(source));
    assert.equal(await refLines(folder), await refLines(source));
    assert.equal(packs, 2);
    assert.ok(bytes < FILE_BYTES, `the server sent ${bytes} bytes`);
  });

  test('a client that does not ask gets everything in the answer', async () => {
    const { folder, packs, sentBytes: bytes } = await cloneOf(url);
    assert.deepEqual(await reachableObjects(folder), await reachableObjects(source));
    assert.equal(packs, 1);
    assert.ok(bytes > FILES * FILE_BYTES);
    assert.deepEqual(await urisOf(url, ['packfile-uris ftp']), [], 'nor one that takes other protocols');
  });

  test('a repository that is one pack leaves nothing for the answer', async () => {
    const alone = `${server.url}/alice/alone.git`;
    await git(['push', '-q', alone, 'v1^0:refs/heads/main', 'v1'], { cwd: source });
    const { folder } = await cloneOf(...BY_URI, alone);
    assert.equal((await reachableObjects(folder)).length, FILES + 4);
  });

  test('a later fetch takes a new pack by URL, on top of what there is', async () => {
    const { folder } = await cloneOf(...BY_URI, url);
    const more = new FastImport(1_900_000_000);
    const files = Object.fromEntries(Array.from({ length: FILES }, (_, i) => [`more/${i}.bin`, randomBytes(FILE_BYTES)]));
    more.commit('refs/heads/more', { ...files, text: `${TEXT}another\n` }, { parents: ['refs/heads/main'] });
    const other = await makeRepository();
    await git(['fetch', '-q', source, 'refs/heads/*:refs/heads/*'], { cwd: other });
    await more.into(other);
    await git(['push', '-q', url, 'more'], { cwd: other });
    const before = await sentBytes(server);
    await git([...BY_URI, 'fetch', '-q', url, 'more:more'], { cwd: folder });
    assert.ok((await sentBytes(server)) - before < FILE_BYTES);
    await git(['fsck', '--full', '--strict', '--no-progress'], { cwd: folder });
    assert.deepEqual(await reachableObjects(folder, 'more'), await reachableObjects(other, 'more'));
    await git(['push', '-q', url, ':more'], { cwd: other });
  });

  /** Lines of the section `packfile-uris` in the answer to a clone. */
  async function urisOf(repository: string, extra: readonly string[], base = server.url): Promise<string[]> {
    const wants = (await git(['ls-remote', repository])).split('\n').map((line) => line.slice(0, 40));
    const { body } = await sendFetch(repository.replace(server.url, base), fetchCommand(wants, [], [...extra, 'done']));
    const lines = readPackets(body).map((line) => line?.toString('latin1').trimEnd() ?? null);
    const from = lines.indexOf('packfile-uris');
    return from < 0 ? [] : lines.slice(from + 1, lines.indexOf(null, from)).map((line) => line ?? '');
  }

  test('a URL gives the pack that its line names, for as long as it lives', async () => {
    const peer = await server.startPeer({ PACKHOUSE_FETCH_PACKFILE_URIS_LIFE: '2s' });
    try {
      const [line = ''] = await urisOf(url, ['packfile-uris http'], peer.url);
      const [checksum, uri = ''] = line.split(' ');
      const { status, body } = await wireRequest(uri);
      assert.equal(status, 200);
      assert.equal(body.toString('latin1', 0, 4), 'PACK');
      assert.equal(body.subarray(-20).toString('hex'), checksum);
      assert.equal(createHash('sha1').update(body.subarray(0, -20)).digest('hex'), checksum);
      assert.equal((await wireRequest(uri.replace(/(Signature=)./, '$1x'))).status, 403);
      assert.ok((await wireRequest(uri.replace('.pack?', '.idx?'))).status === 403, 'nothing else is opened');
      await sleep(3000);
      assert.equal((await wireRequest(uri)).status, 403, 'its time is over');
    } finally {
      await peer.stop();
    }
  });

  test('a pack goes by URL only when all of it is in the answer', async () => {
    const asked = ['packfile-uris http'];
    assert.equal((await urisOf(url, asked)).length, 1);
    assert.deepEqual(await urisOf(url, [...asked, 'filter blob:limit=1g']), [], 'a filter');
    assert.deepEqual(await urisOf(url, [...asked, 'deepen 1']), [], 'a cut history');
    const main = await git(['rev-parse', 'main'], { cwd: source });
    const { body } = await sendFetch(url, fetchCommand([main], [], [...asked, 'done']));
    assert.ok(!body.includes('packfile-uris'), 'a tag of the pack was not asked for');
  });

  test('a crate with packs of others is not opened', async () => {
    for (const name of ['one', 'two']) {
      const small = await makeRepository();
      const history = new FastImport();
      history.commit('refs/heads/main', { data: randomBytes(300_000), name }, { parents: [] });
      await history.into(small);
      await git(['push', '-q', `${server.url}/alice/${name}.git`, 'main'], { cwd: small });
    }
    const { code, stderr } = await server.packhouse('seal', '--now');
    assert.equal(code, 0, stderr);
    const crates = await server.query<{ packs: number }>(
      `select count(*)::int packs from v_packs where repository in ('alice/one', 'alice/two') and state = 'live' and tier = 'store' group by crate_key`,
    );
    assert.deepEqual(crates, [{ packs: 2 }]);
    for (const name of ['one', 'two'])
      assert.deepEqual(await urisOf(`${server.url}/alice/${name}.git`, ['packfile-uris http']), [], name);
  });

  test('a pool that a fork shares has none', async () => {
    const parent = `${server.url}/alice/parent.git`;
    await git(['push', '-q', parent, 'v1^0:refs/heads/main', 'v1'], { cwd: source });
    const peer = await server.startPeer({});
    try {
      assert.equal((await urisOf(parent, ['packfile-uris http'], peer.url)).length, 1);
    } finally {
      await peer.stop();
    }
    const { code, stderr } = await server.packhouse('repo', 'fork', 'alice/parent', 'bob/fork');
    assert.equal(code, 0, stderr);
    for (const name of ['alice/parent', 'bob/fork'])
      assert.deepEqual(await urisOf(`${server.url}/${name}.git`, ['packfile-uris http']), [], name);
  });
});

/** Bytes that the server has written to clients so far. */
async function sentBytes({ url }: TestServer): Promise<number> {
  const text = (await wireRequest(`${url}/metrics`)).body.toString();
  const lines = text.matchAll(/^packhouse_http_bytes_total\{[^}]*route="[^"]*upload-pack"[^}]*direction="out"[^}]*\} (\S+)$/gm);
  return [...lines].reduce((sum, [, value]) => sum + Number(value), 0);
}
