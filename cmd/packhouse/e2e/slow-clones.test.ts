import assert from 'node:assert/strict';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import {
  buildPack,
  commitBody,
  entry,
  fetchCommand,
  oidOf,
  peakMemoryBytes,
  refusalOf,
  resetPeakMemory,
  seededBytes,
  sendFetch,
  sendPush,
  startServer,
  type TestServer,
  treeBody,
  ZERO_OID,
} from '../../../internal/testkit/mod.ts';

const MIB = 2 ** 20;
const CLIENTS = 60;

/** A commit with files of random bytes, in a pack. */
function randomFiles(count: number, lengthBytes: number) {
  const blobs = Array.from({ length: count }, (_, i) => seededBytes(i + 1, lengthBytes));
  const names = blobs.map((blob, i) => ['100644', `f${String(i).padStart(5, '0')}`, oidOf('blob', blob)] as const);
  const tree = treeBody(names);
  const commit = commitBody(oidOf('tree', tree));
  const entries = [...blobs.map((blob) => entry('blob', blob)), entry('tree', tree), entry('commit', commit)];
  return { pack: buildPack(entries), tip: oidOf('commit', commit) };
}

/** Clients that ask and read nothing of the answer but its head. */
class Sleepers {
  readonly #requests: ClientRequest[] = [];

  ask(url: string, body: Buffer): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const headers = { 'Content-Type': 'application/x-git-upload-pack-request', 'Git-Protocol': 'version=2' };
      const outgoing = request(`${url}/git-upload-pack`, { method: 'POST', agent: false, headers }, (answer) => {
        answer.on('error', () => {});
        resolve(answer);
      });
      outgoing.on('error', reject);
      this.#requests.push(outgoing);
      outgoing.end(body);
    });
  }

  leave(): void {
    for (const outgoing of this.#requests) outgoing.destroy();
  }
}

describe('clients that ask for much and read slowly', () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({
      env: { PACKHOUSE_LIMITS_FETCH_MEMORY_BYTES_MAX: '64MiB', PACKHOUSE_LIMITS_FETCHES_WAITING_MAX: '1' },
    });
  });
  after(() => server?.close());

  test('leave the server its memory: the more there are, the less is read for each', async () => {
    const url = `${server.url}/slow/whole.git`;
    const { pack, tip } = randomFiles(48, MIB);
    assert.equal(refusalOf(await sendPush(url, [[ZERO_OID, tip, 'refs/heads/main']], pack)), undefined);
    await server.stop();
    await server.restart();
    await sendFetch(url, fetchCommand([tip], [], ['deepen 1', 'filter tree:0', 'done']));
    resetPeakMemory(server.pid);
    const before = peakMemoryBytes(server.pid);
    const sleepers = new Sleepers();
    const answers = await Promise.all(Array.from({ length: CLIENTS }, () => sleepers.ask(url, fetchCommand([tip]))));
    assert.deepEqual(new Set(answers.map(({ statusCode }) => statusCode)), new Set([200]));
    await new Promise((wake) => setTimeout(wake, 1500));
    const grown = peakMemoryBytes(server.pid) - before;
    sleepers.leave();
    assert.ok(grown < 260 * MIB, `${Math.round(grown / MIB)} MiB for ${CLIENTS} clients`);
    assert.ok((await sendFetch(url, fetchCommand([tip]))).body.length > 48 * MIB);
  });

  test('wait for each other where objects are chosen one by one, and are told when too many wait', async () => {
    const url = `${server.url}/slow/chosen.git`;
    // 100 bytes of memory for each of them is more than the server has been given: one at a time.
    const { pack, tip } = randomFiles(21_000, 600);
    assert.equal(refusalOf(await sendPush(url, [[ZERO_OID, tip, 'refs/heads/main']], pack)), undefined);
    const peer = await server.startPeer({ PACKHOUSE_LIMITS_FETCH_MEMORY_BYTES_MAX: '1MiB' });
    const at = `${peer.url}/slow/chosen.git`;
    const asked = fetchCommand([tip], [], ['filter blob:limit=1m', 'done']);
    const sleepers = new Sleepers();
    try {
      const first = await sleepers.ask(at, asked);
      assert.equal(first.statusCode, 200);
      const second = sleepers.ask(at, asked);
      const { statusCode } = await second;
      assert.equal(statusCode, 200, 'the head comes at once, the pack when there is room');
      const third = await sendFetch(at, asked);
      assert.match(`${third.status} ${third.headers['retry-after']} ${third.body}`, /^503 30 too many large requests at a time/);
      assert.match((await sendFetch(at, fetchCommand([tip]))).body.toString('latin1'), /PACK/, 'whole packs wait for nobody');
      first.resume();
      const bytes = await (await second).reduce((sum: number, chunk: Buffer) => sum + chunk.length, 0);
      assert.ok(bytes > 21_000 * 600, `${bytes}`);
      assert.ok((await sendFetch(at, asked)).body.length > 21_000 * 600, 'there is room again');
    } finally {
      sleepers.leave();
      await peer.stop();
    }
  });
});
