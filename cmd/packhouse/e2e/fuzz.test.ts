import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import {
  buildPack,
  DELIM_PACKET,
  FLUSH_PACKET,
  fetchCommand,
  fuzz,
  git,
  mutants,
  packet,
  peakMemoryBytes,
  readPushAnswer,
  refusalOf,
  startServer,
  syntheticHistory,
  type TestServer,
  tryGit,
  type WireAnswer,
  wireRequest,
  ZERO_OID,
} from '../../../internal/testkit/mod.ts';

/** What the server's process may come to, whatever it is sent. */
const PEAK_BYTES_MAX = 512 << 20;
const CAPABILITIES = 'report-status side-band-64k object-format=sha1 agent=git/2.39.5';

describe('requests to which something was done', () => {
  let server: TestServer;
  let url: string;
  let pid: number;
  let tip: string;
  /** Bodies of pushes that git would send, and of fetches in each version. */
  let pushes: Buffer[];
  let fetches: { readonly 0: Buffer[]; readonly 2: Buffer[] };
  let words: (string | Buffer)[];

  before(async () => {
    server = await startServer({ store: 'fs', env: { PACKHOUSE_LIMITS_REFS_PER_REPOSITORY_MAX: '12000' } });
    url = `${server.url}/fuzz/target.git`;
    pid = server.pid;
    const local = await syntheticHistory({ commits: 20, files: 8, tagEvery: 7 }).into();
    await git(['push', '-q', url, 'main~3:refs/heads/main', '--tags'], { cwd: local });
    tip = await git(['rev-parse', 'main'], { cwd: local });
    const old = await git(['rev-parse', 'main~3'], { cwd: local });
    const pack = async (...options: string[]) =>
      (await tryGit(['pack-objects', '--revs', '--stdout', '-q', ...options], { cwd: local, input: `${tip}\n^${old}\n` })).stdout;
    const push = (command: string, bytes: Buffer): Buffer =>
      Buffer.concat([packet(`${command}\0 ${CAPABILITIES}`), FLUSH_PACKET, bytes]);
    pushes = [
      push(`${ZERO_OID} ${tip} refs/heads/fuzz-0000`, await pack('--thin', '--delta-base-offset')),
      push(`${ZERO_OID} ${tip} refs/heads/fuzz-0000`, await pack()),
      push(`${ZERO_OID} ${old} refs/heads/fuzz-0000`, buildPack([])),
      push(`${old} ${ZERO_OID} refs/heads/none`, Buffer.alloc(0)),
    ];
    const first = `want ${old} multi_ack_detailed no-done side-band-64k thin-pack ofs-delta deepen-since filter agent=git/2.39.5\n`;
    const parent = await git(['rev-parse', 'main~5'], { cwd: local });
    fetches = {
      0: [
        Buffer.concat([packet(first), FLUSH_PACKET, packet(`have ${parent}\n`), packet('done\n')]),
        Buffer.concat([packet(first), packet('deepen 2\n'), packet('filter tree:1\n'), FLUSH_PACKET, packet('done\n')]),
      ],
      2: [
        fetchCommand([old], [parent], ['thin-pack', 'ofs-delta', 'include-tag', 'done']),
        fetchCommand([old], [], ['deepen 3', 'filter blob:limit=10', 'done']),
        fetchCommand([old], [], [`shallow ${parent}`, 'deepen-since 1700000000', 'done']),
        fetchCommand([], [], ['want-ref refs/heads/main', 'filter sparse:oid=main:f0.txt', 'done']),
        Buffer.concat([packet('command=ls-refs\n'), DELIM_PACKET, packet('peel\n'), packet('ref-prefix refs/'), FLUSH_PACKET]),
        Buffer.concat([packet('command=object-info\n'), DELIM_PACKET, packet('size\n'), packet(`oid ${old}\n`), FLUSH_PACKET]),
      ],
    };
    words = [
      FLUSH_PACKET,
      DELIM_PACKET,
      packet('done\n'),
      packet(`want ${parent}`),
      packet(`have ${tip}`),
      packet('deepen 0'),
      tip,
      old,
      ZERO_OID,
    ];
  });

  after(async () => {
    const { pid: now } = server;
    const peak = peakMemoryBytes(now);
    const log = server.log();
    await server.close();
    assert.equal(now, pid, 'the server never ended');
    assert.ok(peak < PEAK_BYTES_MAX, `the server's peak was ${Math.round(peak / 2 ** 20)} MiB`);
    assert.doesNotMatch(log, /"level":60|uncaught|unhandled|TypeError|RangeError|invariant broken/i);
  });

  const send = (service: string, version: number, body: Buffer, headers: Record<string, string> = {}): Promise<WireAnswer> =>
    wireRequest(`${url}/git-${service}`, {
      method: 'POST',
      headers: {
        'Content-Type': `application/x-git-${service}-request`,
        ...(version === 2 ? { 'Git-Protocol': 'version=2' } : {}),
        ...headers,
      },
      body,
    });

  function assertCalm(answer: WireAnswer): void {
    const text = answer.body.subarray(0, 2000).toString('latin1');
    assert.ok(answer.status < 500, `${answer.status}: ${text}`);
    assert.doesNotMatch(text, /invariant|TypeError|RangeError|internal error/i);
  }

  /** Everything that a push can change. */
  async function everything(): Promise<string> {
    const rows = await server.query(
      `select (select count(*) from pushes) pushes, (select count(*) from packs) packs, (select count(*) from tail_bytes) tails,
              (select md5(string_agg(name::text || oid::text, ',' order by name)) from refs) refs, (select count(*) from repositories) repositories`,
    );
    return JSON.stringify(rows);
  }

  test('a push is refused and changes nothing, or is done as its report says', async (t) => {
    let done = 0;
    let state = await everything();
    let count = 0;
    // Each push has a ref of its own, and half of them a pack whose checksum is right.
    const renamed = (bytes: Buffer): Buffer => {
      const at = bytes.indexOf('fuzz-0000');
      if (at < 0) return bytes;
      return Buffer.concat([
        bytes.subarray(0, at + 5),
        Buffer.from(String(++count % 10_000).padStart(4, '0')),
        bytes.subarray(at + 9),
      ]);
    };
    const rehashed = (bytes: Buffer): Buffer => {
      const at = bytes.indexOf('PACK');
      if (at < 0 || bytes.length < at + 20) return renamed(bytes);
      const pack = bytes.subarray(at, -20);
      return renamed(Buffer.concat([bytes.subarray(0, -20), createHash('sha1').update(pack).digest()]));
    };
    const mutated = [renamed, rehashed].map((finish) => mutants(pushes, { words, editsMax: 3, finish }));
    const input = fc.tuple(fc.oneof(...mutated), fc.nat(9));
    await fuzz(t, input, { runs: 250, bytesMax: 1 << 24 }, async ([{ bytes }, n]) => {
      const isCompressed = n === 0;
      const headers: Record<string, string> = isCompressed ? { 'Content-Encoding': 'gzip' } : {};
      const answer = await send('receive-pack', 0, isCompressed ? gzipSync(bytes) : bytes, headers);
      assertCalm(answer);
      const before = state;
      state = await everything();
      if (state === before) return;
      done++;
      const { lines } = readPushAnswer(answer);
      assert.ok(
        refusalOf(answer) === undefined || lines.some((line) => line.startsWith('ok ')),
        `refused, and done: ${lines.join('; ')}`,
      );
    });
    t.diagnostic(`${done} changed something`);
    const checked = await server.packhouse('fsck', 'fuzz/target');
    assert.equal(checked.code, 0, checked.stdout);
  });

  for (const version of [0, 2] as const) {
    test(`a fetch of version ${version} is answered or refused`, async (t) => {
      const state = await everything();
      await fuzz(t, mutants(fetches[version], { words }), { runs: 400, bytesMax: 1 << 24 }, async ({ bytes }) =>
        assertCalm(await send('upload-pack', version, bytes)),
      );
      assert.equal(await everything(), state);
    });
  }

  test('a compressed body is taken apart or refused', async (t) => {
    const bodies = fetches[2].map((body) => gzipSync(body));
    await fuzz(t, mutants(bodies), { runs: 150, bytesMax: 1 << 24 }, async ({ bytes }) =>
      assertCalm(await send('upload-pack', 2, bytes, { 'Content-Encoding': 'gzip' })),
    );
  });
});
