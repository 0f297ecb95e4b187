import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  buildPack,
  DELIM_PACKET,
  FLUSH_PACKET,
  git,
  packet,
  peakMemoryBytes,
  readPushAnswer,
  resetPeakMemory,
  sendFetch,
  sendPush,
  startServer,
  syntheticHistory,
  type TestServer,
  wireRequest,
  ZERO_OID,
} from '../../../internal/testkit/mod.ts';

const MIB = 2 ** 20;
const REFS = 120_000;

/** The most refs that a repository may have, so many that its answers are made in pieces. */
describe('a repository with more refs than anybody needs', () => {
  let server: TestServer;
  let url: string;
  let tip: string;

  before(async () => {
    server = await startServer({ env: { PACKHOUSE_LIMITS_REFS_PER_REPOSITORY_MAX: String(REFS + 2) } });
    url = `${server.url}/eve/refs.git`;
    const local = await syntheticHistory({ commits: 3 }).into();
    await git(['push', '-q', url, 'main'], { cwd: local });
    tip = await git(['rev-parse', 'main'], { cwd: local });
    await server.query(
      `insert into refs (pool_id, repository_id, name, oid, created_push)
        select pool_id, repository_id, convert_to('refs/bulk/' || lpad(i::text, 6, '0'), 'UTF8'), oid, created_push
          from refs, generate_series(1, $1::int) i where name = 'refs/heads/main'`,
      [REFS],
    );
    await server.kill9();
    await server.restart();
  });
  after(() => server?.close());

  const lsRefs = (...prefixes: readonly string[]) => {
    const lines = prefixes.map((prefix) => packet(`ref-prefix ${prefix}\n`));
    return sendFetch(url, Buffer.concat([packet('command=ls-refs\n'), DELIM_PACKET, ...lines, FLUSH_PACKET]));
  };

  test('is listed whole, and by prefix', async () => {
    const line = (name: string): Buffer => packet(`${tip} ${name}\n`);
    const bulk = Array.from({ length: REFS }, (_, i) => line(`refs/bulk/${String(i + 1).padStart(6, '0')}`));
    const main = line('refs/heads/main');
    assert.ok((await lsRefs()).body.equals(Buffer.concat([line('HEAD'), ...bulk, main, FLUSH_PACKET])));
    assert.ok((await lsRefs('refs/bulk/')).body.equals(Buffer.concat([...bulk, FLUSH_PACKET])));
    assert.ok(
      (await lsRefs('refs/heads/', 'refs/bulk/00000')).body.equals(Buffer.concat([...bulk.slice(0, 9), main, FLUSH_PACKET])),
    );
  });

  test('cannot be made to fill the memory with answers, however many are asked for, and at a time', async () => {
    await wireRequest(`${url}/info/refs?service=git-receive-pack`);
    resetPeakMemory(server.pid);
    const before = peakMemoryBytes(server.pid);
    for (let i = 0; i < 40; i++) await lsRefs('refs/bulk/', `x${i}`);
    await Promise.all(Array.from({ length: 20 }, () => wireRequest(`${url}/info/refs?service=git-receive-pack`)));
    const grown = peakMemoryBytes(server.pid) - before;
    assert.ok(grown < 160 * MIB, `${Math.round(grown / MIB)} MiB more`);
  });

  test('takes no ref beyond its limit, and what it has can be moved and deleted', async () => {
    const push = async (...updates: Parameters<typeof sendPush>[1]) =>
      readPushAnswer(await sendPush(url, updates, updates.every(([, to]) => to === ZERO_OID) ? Buffer.alloc(0) : buildPack([])))
        .lines;
    assert.deepEqual(
      await push([ZERO_OID, tip, 'refs/heads/a'], [tip, tip, 'refs/bulk/000001'], [ZERO_OID, tip, 'refs/heads/b']),
      ['unpack ok', 'ok refs/heads/a', 'ok refs/bulk/000001', 'ng refs/heads/b too many refs in the repository'],
    );
    assert.deepEqual(await push([tip, ZERO_OID, 'refs/bulk/000002']), ['unpack ok', 'ok refs/bulk/000002']);
    assert.deepEqual(await push([ZERO_OID, tip, 'refs/heads/b']), ['unpack ok', 'ok refs/heads/b']);
  });
});
