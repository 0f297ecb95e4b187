import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { SpareWorker } from '../base/mod.ts';
import { DEFAULT_SEVERITIES } from '../object/mod.ts';
import { buildPack, entry, git, scratchFolder } from '../testkit/mod.ts';
import { DEFAULT_PACK_LIMITS, prepareWorker, receivePack, type WorkOptions } from './mod.ts';
import { ResolveHelper } from './resolve-helper.ts';
import { warmUp, warmUpPack } from './warm-up.ts';

const OPTIONS: WorkOptions = {
  format: 'sha1',
  limits: DEFAULT_PACK_LIMITS,
  severities: DEFAULT_SEVERITIES,
  detectCollisions: true,
  chunking: { thresholdBytes: 16 << 20, minBytes: 1 << 14, avgBytes: 1 << 16, maxBytes: 1 << 18 },
};
const folder = scratchFolder('warm-up');

async function receiveOne(text: string): Promise<void> {
  async function* body(): AsyncGenerator<Buffer, undefined> {
    yield buildPack([entry('blob', text)]);
  }
  const received = await receivePack(body(), Buffer.alloc(0), {
    ...OPTIONS,
    chunking: null,
    memoryBytesMax: 0,
    spoolFolder: folder,
    readBase: async () => null,
  });
  assert.equal(received.pack.objectCount, 1);
  await received.dispose();
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!isSo()) {
    assert.ok(Date.now() < deadline, `waited in vain for ${what}`);
    await sleep(1);
  }
}

test('the warm-up pack is a whole history without a fault, the same each time', async () => {
  const pack = warmUpPack(300);
  assert.ok(pack.equals(warmUpPack(300)));
  const file = join(folder, 'warm-up.pack');
  await writeFile(file, pack);
  await git(['init', '-q', '--bare', folder]);
  await git(['index-pack', '--strict', '--fsck-objects', file], { cwd: folder });
  const entries = (await git(['verify-pack', '-v', file], { cwd: folder })).split('\n');
  assert.equal(entries.filter((line) => / commit /.test(line)).length, 300);
  const deltas = entries.filter((line) => / (?:blob|tree) .* [0-9a-f]{40}$/.test(line)).length;
  assert.ok(deltas > 1500, `${deltas} deltas`);
});

test('a warm-up alone or with a helper comes to its end, unless there is work', async () => {
  let asked = 0;
  await warmUp(OPTIONS, null, () => ++asked === 2);
  assert.equal(asked, 2, 'what is asked after the first round ends it');
  const helper = new ResolveHelper();
  asked = 0;
  await warmUp(OPTIONS, helper, () => {
    asked++;
    return false;
  });
  assert.ok(asked > 2);
  assert.equal(helper.isReady, false);
  helper.end();
});

/** The threads that are taken while a test runs, in that order. */
function watchThreads(context: TestContext): readonly Worker[] {
  const threads: Worker[] = [];
  const { take } = SpareWorker.prototype;
  context.mock.method(SpareWorker.prototype, 'take', function (this: SpareWorker) {
    const worker = take.call(this);
    threads.push(worker);
    return worker;
  });
  return threads;
}

function spools(): number {
  return readdirSync(folder).filter((name) => name.startsWith('packhouse-spool-')).length;
}

test('a thread that warms up leaves that for a pack that comes, leaves nothing, and waits for the next', async (context) => {
  process.env.TMPDIR = folder;
  const threads = watchThreads(context);
  prepareWorker(OPTIONS);
  await until('the folder of the pack', () => spools() > 0);
  await receiveOne('meanwhile');
  await until('its end', () => spools() === 0);
  await receiveOne('later');
  const [first, second, third] = threads;
  assert.deepEqual([second, third], [first, first]);
  await first!.terminate();
});

test('a warm-up that comes to grief is not told to a push that comes meanwhile', async (context) => {
  process.env.TMPDIR = folder;
  const threads = watchThreads(context);
  for (let round = 0; round < 8; round++) {
    prepareWorker({ ...OPTIONS, limits: { ...DEFAULT_PACK_LIMITS, deltaDepthMax: 20 } });
    const thread = threads.at(-1)!;
    await until('the folder of the pack', () => spools() > 0);
    await sleep(round * 10);
    await receiveOne(`round ${round}`);
    assert.equal(threads.at(-1), thread, 'the thread is as good as before');
    await until('its end', () => spools() === 0);
    await thread.terminate();
  }
});
