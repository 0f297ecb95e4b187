import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { tryGit } from '../../../internal/testkit/mod.ts';
import { FaultPushes, noFigures } from './fault-pushes-testing.ts';
import { FaultyHouse } from './faulty-house-testing.ts';

describe('a store that is down', () => {
  let house: FaultyHouse;
  /** Pushed through this server, which has not read them yet; and what it has in its cache. */
  let cold: FaultPushes;
  let warm: FaultPushes;
  const ready = async (): Promise<number> => (await fetch(`${house.url}/readyz`)).status;

  before(async () => {
    house = await FaultyHouse.start({ cacheBytes: '64MiB' });
    cold = await FaultPushes.open('down/cold', house.url, house.databaseUrl);
    warm = await FaultPushes.open('down/warm', house.url, house.databaseUrl);
    for (const pushes of [cold, warm]) await pushes.push('stored');
    assert.equal(await warm.cloned(), 0);
    house.setFaults({ operation: 'any', when: { kind: 'always' }, fault: { kind: 'fail' } });
  });
  after(async () => {
    await cold?.close();
    await warm?.close();
    await house?.close();
  });

  test('is told by /readyz', async () => {
    assert.equal(await ready(), 503);
    assert.equal((await fetch(`${house.url}/livez`)).status, 200);
  });

  test('does not stop pushes that need no room in it', async () => {
    for (let i = 0; i < 3; i++) await warm.push('small');
  });

  test('does not stop fetches of what is cached', async () => {
    assert.equal(await warm.cloned(), 0);
  });

  test('has larger pushes refused in the words of git', async () => {
    const figures = noFigures();
    await warm.struck('large', figures, () => house.setFaults());
    assert.deepEqual([figures.refused, figures.acknowledged], [1, 1]);
    house.setFaults({ operation: 'any', when: { kind: 'always' }, fault: { kind: 'fail' } });
  });

  test('has fetches of what is not cached end in a clear error, and what comes is no repository', async () => {
    const began = performance.now();
    const { status, stderr } = await tryGit(['ls-remote', cold.url]);
    assert.equal(status, 0, stderr);
    const clone = await tryGit(['clone', '-q', '--mirror', cold.url, 'c.git'], { cwd: house.calm.dataDir });
    assert.notEqual(clone.status, 0);
    assert.match(clone.stderr, /the server failed to read it|HTTP 503/);
    assert(performance.now() - began < 60_000);
  });

  test('is used again once it is back', async () => {
    house.setFaults();
    assert.equal(await ready(), 200);
    for (const pushes of [cold, warm]) {
      assert.equal(await pushes.cloned(), 0);
      await pushes.push('large');
    }
  });
});
