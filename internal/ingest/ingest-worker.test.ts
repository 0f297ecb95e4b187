import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { SpareWorker } from '../base/mod.ts';
import { DEFAULT_SEVERITIES } from '../object/mod.ts';
import { buildPack, entry, scratchFolder } from '../testkit/mod.ts';
import { DEFAULT_PACK_LIMITS, prepareWorker, receivePack } from './mod.ts';

const spoolFolder = scratchFolder('spool');

async function* whole(bytes: Buffer): AsyncGenerator<Buffer, undefined> {
  yield bytes;
}

async function receive(bytes: Buffer): Promise<number> {
  const received = await receivePack(whole(bytes), Buffer.alloc(0), {
    format: 'sha1',
    limits: DEFAULT_PACK_LIMITS,
    severities: DEFAULT_SEVERITIES,
    memoryBytesMax: 0,
    spoolFolder,
    readBase: async () => null,
  });
  await received.dispose();
  return received.pack.objectCount;
}

test('a thread that was prepared works on the next pack', async (context) => {
  const { keep, take } = SpareWorker.prototype;
  const events: string[] = [];
  context.mock.method(SpareWorker.prototype, 'take', function (this: SpareWorker) {
    const worker = take.call(this);
    events.push(`take ${worker.threadId}`);
    return worker;
  });
  context.mock.method(SpareWorker.prototype, 'keep', function (this: SpareWorker, ...args: Parameters<SpareWorker['keep']>) {
    events.push(`keep ${args[0].threadId}`);
    keep.apply(this, args);
  });
  prepareWorker();
  prepareWorker();
  assert.equal(events.length, 2, 'one is enough');
  assert.equal(await receive(buildPack([entry('blob', 'prepared')])), 1);
  const thread = events[0]!.slice('take '.length);
  assert.deepEqual(events, [`take ${thread}`, `keep ${thread}`, `take ${thread}`, `keep ${thread}`]);
});

test('what is prepared are both threads that a large pack takes', {
  skip: process.platform !== 'linux' || availableParallelism() < 2,
}, async () => {
  const name = (thread: string): string => {
    try {
      return readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').trim();
    } catch {
      return 'ended';
    }
  };
  const threads = (): number => readdirSync('/proc/self/task').filter((thread) => name(thread) === 'WorkerThread').length;
  // Nobody has one: what ran before was refused or is made to end.
  for (let i = 0; i < 2; i++) {
    const bad = buildPack([entry('blob', `bad ${i}`)]);
    bad[bad.length - 1]! ^= 1;
    await assert.rejects(receive(bad));
  }
  assert.equal(threads(), 0);
  prepareWorker();
  const deadline = Date.now() + 60_000;
  while (threads() < 2 && Date.now() < deadline) await sleep(10);
  assert.equal(threads(), 2);
});

test('a thread stays for the next pack after a sound one, not after one that is refused', async (context) => {
  const threads: number[] = [];
  const { take } = SpareWorker.prototype;
  context.mock.method(SpareWorker.prototype, 'take', function (this: SpareWorker) {
    const worker = take.call(this);
    threads.push(worker.threadId);
    return worker;
  });
  const packOf = (...blobs: string[]): Buffer => buildPack(blobs.map((blob) => entry('blob', blob)));
  assert.equal(await receive(packOf('a', 'b')), 2);
  assert.equal(await receive(packOf('c', 'd', 'e')), 3);
  const bad = packOf('f');
  bad[bad.length - 1]! ^= 1;
  await assert.rejects(receive(bad));
  assert.equal(await receive(packOf('g')), 1);
  const [first, second, third, fourth] = threads;
  assert.deepEqual([second, third], [first, first]);
  assert.notEqual(fourth, first);
});
