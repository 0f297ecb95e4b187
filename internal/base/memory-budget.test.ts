import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { MemoryBudget, type MemoryClaim } from './mod.ts';

/** Claims as they are granted, by name. */
class Clients {
  readonly budget: MemoryBudget;
  readonly granted = new Map<string, MemoryClaim>();
  readonly refused = new Map<string, unknown>();

  constructor(bytesMax: number, waitersMax: number) {
    this.budget = new MemoryBudget({ bytesMax, waitersMax });
  }

  async ask(name: string, bytes: number, signal?: AbortSignal): Promise<void> {
    this.budget.take(bytes, signal).then(
      (claim) => this.granted.set(name, claim),
      (error: unknown) => this.refused.set(name, error),
    );
    await turn();
  }

  async release(name: string): Promise<void> {
    this.granted.get(name)!.release();
    this.granted.delete(name);
    await turn();
  }

  get names(): string[] {
    return [...this.granted.keys()];
  }
}

test('claims are granted in their order, a large one is not passed over by small ones', async () => {
  const clients = new Clients(100, 10);
  await clients.ask('a', 60);
  await clients.ask('b', 60);
  await clients.ask('c', 10);
  assert.deepEqual(clients.names, ['a'], 'c would fit, but b came first');
  await clients.release('a');
  assert.deepEqual(clients.names, ['b', 'c']);
  assert.equal(clients.budget.usedBytes, 70);
});

test('a claim of more than there is waits for all others and is alone then', async () => {
  const clients = new Clients(100, 10);
  await clients.ask('a', 1);
  await clients.ask('huge', 1000);
  await clients.ask('b', 1);
  await clients.release('a');
  assert.deepEqual(clients.names, ['huge']);
  await clients.release('huge');
  assert.deepEqual(clients.names, ['b']);
});

test('a claim that is released twice counts once', async () => {
  const clients = new Clients(100, 10);
  await clients.ask('a', 60);
  const claim = clients.granted.get('a')!;
  claim.release();
  claim.release();
  assert.equal(clients.budget.usedBytes, 0);
});

test('beyond the queue a claim is refused at once', async () => {
  const clients = new Clients(100, 1);
  await clients.ask('a', 100);
  await clients.ask('b', 100);
  await clients.ask('c', 1);
  assert.equal((clients.refused.get('c') as { code: string }).code, 'overloaded');
  assert.equal(clients.budget.waiting, 1);
  await clients.release('a');
  assert.deepEqual(clients.names, ['b']);
});

test('whoever gives up leaves the queue, and those behind move up', async () => {
  const clients = new Clients(100, 10);
  const patience = new AbortController();
  await clients.ask('a', 50);
  await clients.ask('b', 100, patience.signal);
  await clients.ask('c', 50);
  assert.deepEqual(clients.names, ['a']);
  patience.abort(new Error('gone'));
  await turn();
  assert.equal((clients.refused.get('b') as Error).message, 'gone');
  assert.deepEqual(clients.names, ['a', 'c']);
  await clients.release('a');
  await clients.release('c');
  assert.equal(clients.budget.usedBytes, 0);
});
