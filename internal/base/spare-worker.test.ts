import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import type { Worker } from 'node:worker_threads';
import { SpareWorker } from './spare-worker.ts';

const ECHO = `import { parentPort } from 'node:worker_threads'; parentPort.on('message', (message) => parentPort.postMessage(message));`;
const file = new URL(`data:text/javascript,${encodeURIComponent(ECHO)}`);

async function echo(worker: Worker, message: string): Promise<unknown> {
  worker.postMessage(message);
  const [answer] = (await once(worker, 'message')) as unknown[];
  return answer;
}

test('a worker that was kept is taken again and is heard; a second one is ended', async () => {
  const spare = new SpareWorker(file, 60_000);
  const [one, two] = [spare.take(), spare.take()];
  assert.notEqual(one, two);
  assert.deepEqual(await Promise.all([echo(one, 'a'), echo(two, 'b')]), ['a', 'b']);
  let heard = 0;
  one.on('message', () => heard++);
  spare.keep(one);
  const ended = new Promise((resolve) => setImmediate(() => two.once('exit', resolve)));
  spare.keep(two);
  await ended;
  assert.equal(spare.take(), one);
  assert.equal(await echo(one, 'c'), 'c');
  assert.equal(heard, 0, 'whoever had it before hears no more');
  const other = spare.take();
  assert.notEqual(other, one, 'it is taken once');
  await Promise.all([one.terminate(), other.terminate()]);
});

test('a worker that waits ends by itself, and so does one that still says something', async () => {
  const patient = new SpareWorker(file, 60_000);
  const talking = patient.take();
  patient.keep(talking);
  talking.postMessage('not done');
  await once(talking, 'exit');
  const next = patient.take();
  assert.notEqual(next, talking);
  await next.terminate();
  const hasty = new SpareWorker(file, 1);
  const waiting = hasty.take();
  hasty.keep(waiting);
  await once(waiting, 'exit');
  const fresh = hasty.take();
  assert.notEqual(fresh, waiting);
  await fresh.terminate();
});
