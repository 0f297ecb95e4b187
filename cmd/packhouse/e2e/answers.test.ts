import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import {
  FastImport,
  fetchCommand,
  git,
  makeRepository,
  reachableObjects,
  readPackets,
  seededBytes,
  sendFetch,
  startServer,
  type TestServer,
  type WireAnswer,
  wireRequest,
} from '../../../internal/testkit/mod.ts';

/** Requests that are written in every way: packs as they are, entries with other distances, objects made whole. */
const KINDS: readonly (readonly string[])[] = [
  ['ofs-delta', 'done'],
  ['done'],
  ['ofs-delta', 'filter blob:none', 'done'],
  ['ofs-delta', 'filter blob:limit=1000', 'done'],
  ['ofs-delta', 'deepen 2', 'done'],
  ['ofs-delta', 'include-tag', 'filter tree:2', 'done'],
];

describe('a fetch that was answered before', () => {
  let server: TestServer;
  let local: string;
  let writer: string;
  let name: string;
  let count = 0;
  const oids: Record<string, string> = {};

  before(async () => {
    const flags = ['--auth-mode', 'token', '--fetch-serve-log-values', 'false', '--push-tail-bytes-max', '4KiB'];
    server = await startServer({ flags, env: { PACKHOUSE_AUTH_MODE: 'token' } });
    writer = await run('token', 'create', 'writer', '--scope', 'write');
    const importer = new FastImport();
    let parent = importer.commit('refs/heads/main', { 'src/a': 'a\n', 'src/b': seededBytes(3, 9000) });
    for (let i = 0; i < 30; i++) {
      const changed = { 'src/a': `a ${i}\n`.repeat(200 + i), 'doc/c/d': `${i}\n` };
      parent = importer.commit('refs/heads/main', changed, { parents: [parent] });
    }
    importer.commit('refs/heads/side', { 'src/e': 'e\n', 'src/a': 'other\n' }, { parents: [parent] });
    importer.commit('refs/heads/apart', { z: seededBytes(4, 3000) });
    local = await importer.into();
    for (const ref of ['main', 'side', 'apart']) oids[ref] = await git(['rev-parse', ref], { cwd: local });
  });
  after(async () => {
    await server?.close();
  });
  beforeEach(async () => {
    name = `ann/r${++count}`;
    for (const ref of ['main', 'side']) await push(name, ref);
  });

  async function run(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await server.packhouse(...args);
    assert.equal(code, 0, `${args.join(' ')}: ${stderr}`);
    return stdout.trim();
  }
  const pushFrom = (cwd: string, repository: string, ...refs: string[]) =>
    git(['push', '-q', '-f', `${server.url.replace('//', `//any:${writer}@`)}/${repository}.git`, ...refs], { cwd });
  const push = (repository: string, ...refs: string[]) => pushFrom(local, repository, ...refs);
  const ask = (repository: string, wants: readonly string[], kind: readonly string[], haves: readonly string[] = []) =>
    sendFetch(`${server.url}/${repository}.git`, fetchCommand(wants, haves, kind));

  /** How often the server found an answer, or an entry made for one, that it had kept. */
  async function hits(cache: 'answers' | 'expanded'): Promise<number> {
    const { body } = await wireRequest(`${server.url}/metrics`);
    const line = body
      .toString('latin1')
      .match(new RegExp(`^packhouse_cache_lookups_total{cache="${cache}",result="hit"} (\\d+)$`, 'm'));
    return Number(line?.[1] ?? 0);
  }
  async function hitsOf(work: () => Promise<unknown>, cache: 'answers' | 'expanded' = 'answers'): Promise<number> {
    const before = await hits(cache);
    await work();
    return (await hits(cache)) - before;
  }

  /** Oids of the objects of an answer's pack, which git must find sound. */
  async function objects({ status, body }: WireAnswer): Promise<string[]> {
    assert.equal(status, 200);
    const packets = readPackets(body).filter((payload) => payload !== null);
    const pack = Buffer.concat(packets.flatMap((payload) => (payload[0] === 1 ? [payload.subarray(1)] : [])));
    const cwd = await makeRepository();
    await git(['index-pack', '--fsck-objects', '--stdin'], { cwd, input: pack });
    const folder = join(cwd, 'objects/pack');
    const idx = readdirSync(folder).find((file) => file.endsWith('.idx'))!;
    const rows = await git(['show-index'], { cwd, input: readFileSync(join(folder, idx)) });
    return rows.split('\n').map((line) => line.split(' ')[1]!);
  }
  const refused = ({ body }: WireAnswer, oid: string) =>
    assert.ok(body.toString('latin1').includes(`ERR upload-pack: not our ref ${oid}`), body.toString('latin1', 0, 200));

  test('is answered by the same bytes, from what was kept', async () => {
    for (const kind of KINDS) {
      for (const [wants, haves] of [[[oids.main!, oids.side!], []] as const, [[oids.side!], [oids.main!]] as const]) {
        const first = await ask(name, wants, kind, haves);
        if (haves.length === 0) assert.ok((await objects(first)).length > 3);
        const found = await hitsOf(async () => assert.deepEqual((await ask(name, wants, kind, haves)).body, first.body));
        assert.equal(found, 1, kind.join(' '));
      }
    }
  });

  test('has left what it compressed anew to the next that has the same objects, in this pool only', async () => {
    const importer = new FastImport();
    const bytes = seededBytes(5, 20_000);
    const parent = importer.commit('refs/heads/main', { big: bytes });
    importer.commit('refs/heads/main', { big: Buffer.concat([bytes, Buffer.from('more')]) }, { parents: [parent] });
    const versions = await importer.into();
    const old = await git(['rev-parse', 'main~1'], { cwd: versions });
    const wanted = [
      old,
      await git(['rev-parse', 'main~1^{tree}'], { cwd: versions }),
      await git(['rev-parse', 'main~1:big'], { cwd: versions }),
    ];
    const ofOne = async (repository: string, ...more: string[]) => {
      const found = await objects(await ask(repository, [old], [...more, 'deepen 1', 'done']));
      assert.deepEqual(found.sort(), wanted.sort());
    };
    for (const repository of [`${name}-one`, `${name}-other`]) {
      await pushFrom(versions, repository, 'main');
      assert.equal(await hitsOf(() => ofOne(repository, 'ofs-delta'), 'expanded'), 0);
      assert.ok((await hitsOf(() => ofOne(repository), 'expanded')) > 0);
    }
  });

  test('is answered so though refs it does not name have moved, and refused once its ref has', async () => {
    const first = await ask(name, [oids.main!], KINDS[0]!);
    await push(name, 'apart:side');
    assert.equal(await hitsOf(async () => assert.deepEqual((await ask(name, [oids.main!], KINDS[0]!)).body, first.body)), 1);
    await push(name, 'apart:main');
    assert.equal(await hitsOf(async () => refused(await ask(name, [oids.main!], KINDS[0]!), oids.main!)), 0);
    assert.deepEqual((await objects(await ask(name, [oids.apart!], KINDS[0]!))).length, 3);
  });

  test('brings a tag that came since', async () => {
    const kind = ['ofs-delta', 'include-tag', 'done'];
    const before = await objects(await ask(name, [oids.main!], kind));
    await git(['tag', '-f', '-a', '-m', 'a tag', `t${count}`, 'main'], { cwd: local });
    await push(name, `t${count}`);
    const tag = await git(['rev-parse', `t${count}`], { cwd: local });
    const now = await objects(await ask(name, [oids.main!], kind));
    assert.deepEqual(now.sort(), [...before, tag].sort());
    await push(name, `:t${count}`);
    assert.deepEqual((await objects(await ask(name, [oids.main!], kind))).sort(), before.sort());
  });

  test('is not given to who may not read any more, nor of a repository that is gone', async () => {
    await ask(name, [oids.main!], KINDS[0]!);
    await run('repo', 'visibility', name, 'private');
    assert.equal((await ask(name, [oids.main!], KINDS[0]!)).status, 401);
    await run('repo', 'visibility', name, 'public');
    assert.equal((await ask(name, [oids.main!], KINDS[0]!)).status, 200);
    await run('repo', 'delete', name);
    assert.equal((await ask(name, [oids.main!], KINDS[0]!)).status, 401);
    await push(name, 'apart');
    assert.equal(await hitsOf(async () => refused(await ask(name, [oids.main!], KINDS[0]!), oids.main!)), 0);
  });

  test('is put together anew once its packs were replaced or swept', async () => {
    const due = await reachableObjects(local, 'main');
    for (const kind of [KINDS[0]!, KINDS[1]!]) await ask(name, [oids.main!], kind);
    await ask(name, [oids.side!], KINDS[0]!);
    await run('seal', '--now');
    await run('compact', name);
    assert.equal(
      await hitsOf(async () => assert.equal((await objects(await ask(name, [oids.main!], KINDS[0]!))).length, due.length)),
      0,
    );
    await push(name, ':side');
    await run('sweep', name, '--sweep-retention', '0s', '--thorough', '--yes');
    // What was replaced is deleted, too: nothing of it can be read any more.
    await server.query(`update packs set state_since = state_since - interval '1 day' where state = 'superseded'`);
    await run('sweep', '--yes');
    assert.deepEqual(await server.query(`select id from packs where state = 'superseded'`), []);
    for (const kind of [KINDS[0]!, KINDS[1]!]) {
      const answered = await objects(await ask(name, [oids.main!], kind));
      assert.equal(answered.length, due.length);
    }
    refused(await ask(name, [oids.side!], KINDS[0]!), oids.side!);
  });

  test('tells a fork nothing of its parent, and the parent nothing of its fork', async () => {
    const fork = `${name}-fork`;
    const first = await ask(name, [oids.main!, oids.side!], KINDS[0]!);
    await run('repo', 'fork', name, fork);
    await push(fork, ':side', 'apart');
    assert.deepEqual((await objects(await ask(name, [oids.main!, oids.side!], KINDS[0]!))).length, (await objects(first)).length);
    assert.equal(await hitsOf(async () => refused(await ask(fork, [oids.main!, oids.side!], KINDS[0]!), oids.side!)), 0);
    await ask(fork, [oids.apart!], KINDS[0]!);
    assert.equal(await hitsOf(async () => refused(await ask(name, [oids.apart!], KINDS[0]!), oids.apart!)), 0);
    // Which copies are sent hangs on what the repository itself reaches: each has answers of its own.
    const both = [oids.side!, oids.main!];
    await push(fork, 'side');
    await ask(fork, both, KINDS[0]!);
    assert.equal(await hitsOf(() => ask(name, both, KINDS[0]!)), 0);
  });
});
