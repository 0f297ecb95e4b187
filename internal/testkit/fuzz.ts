import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { PackhouseError } from '../base/mod.ts';
import { Guide } from './guided.ts';
import { mutantsIn } from './mutate.ts';

/** The first seed, and how long each target is tried; 0: the short form. */
const SEED = Number(process.env.PACKHOUSE_FUZZ_SEED ?? 1);
const SECONDS = Number(process.env.PACKHOUSE_FUZZ_SECONDS ?? 0);
/** With branches counted: `count` tries what is tried without, so that the two can be compared. */
const IS_GUIDED = process.env.PACKHOUSE_FUZZ_COVERAGE !== 'count';

/** One input may take this much of the processor: what a busy machine does meanwhile does not count. */
const CPU_MS_MAX = 5_000;
/** An input that has not come to an end after this is taken for a hang. */
const STALL_MS_MAX = 120_000;

export interface FuzzOptions {
  /** How many inputs the short form tries. */
  readonly runs: number;
  /** Bytes of buffers that one input may make this thread ask for, whatever it claims, beside 64 for each of its own. */
  readonly bytesMax?: number;
}

/**
 * Tries a target with many inputs: none may take long, ask for more memory than it deserves, or end in anything that `trial` does not expect.
 * A failure is made smaller and prints the seed with which it comes back.
 */
export async function fuzz<T>(
  t: TestContext,
  inputs: fc.Arbitrary<T>,
  { runs, bytesMax = 4 << 20 }: FuzzOptions,
  trial: (input: T) => void | Promise<void>,
): Promise<void> {
  const until = performance.now() + SECONDS * 1000;
  let tried = 0;
  const watched = async (input: T): Promise<void> => {
    tried++;
    const size = mutantsIn(input).reduce((sum, { bytes }) => sum + bytes.length, 0);
    const cpuBefore = process.threadCpuUsage();
    requestedBytes = 0;
    watch.begin(() => `${t.fullName}: ${fc.stringify(input)}`);
    try {
      await trial(input);
    } finally {
      watch.end();
    }
    assert.ok(requestedBytes <= bytesMax + 64 * size, `${requestedBytes} bytes were asked for`);
    const { user, system } = process.threadCpuUsage(cpuBefore);
    assert.ok(user + system <= CPU_MS_MAX * 1000, `took ${(user + system) / 1000} ms of the processor`);
  };
  countAllocations();
  if (globalThis.packhouseBranches !== undefined) {
    const guide = new Guide(inputs, globalThis.packhouseBranches, SEED, IS_GUIDED ? undefined : 0);
    while (tried < runs || performance.now() < until) await tryGuided(t, guide, watched);
    t.diagnostic(`${guide}, seed ${SEED}`);
    return;
  }
  let seed = SEED;
  for (; ; seed++) {
    await fc.assert(fc.asyncProperty(inputs, watched), { seed, numRuns: runs });
    if (performance.now() >= until) break;
  }
  t.diagnostic(`${tried} inputs, seeds ${SEED} to ${seed}`);
}

/** A failure prints the input as it is: made smaller it would have to be tried again, and what is reached is counted once. */
async function tryGuided<T>(t: TestContext, guide: Guide<T>, watched: (input: T) => Promise<void>): Promise<void> {
  const input = guide.next();
  try {
    await watched(input);
  } catch (error) {
    throw new Error(`${t.fullName}: seed ${SEED}, ${guide}: ${fc.stringify(input)}`, { cause: error });
  }
  guide.judge(input);
}

/** Whether an error is a refusal: one of ours, and no broken invariant. */
function isRefusal(error: unknown): error is PackhouseError {
  return error instanceof PackhouseError && error.code !== 'assertion';
}

/** For `catch`: null for a refusal; anything else is thrown on. */
export function nullWhenRefused(error: unknown): null {
  if (!isRefusal(error)) throw error;
  return null;
}

/** What `read` makes of its input, null when it refuses it. */
export function unlessRefused<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    return nullWhenRefused(error);
  }
}

let requestedBytes = 0;
let isCounting = false;

/**
 * Counts what buffers are asked for by their length: room that a claim asks for counts even when no page of it is touched, so the
 * process's own size would not show it.
 */
function countAllocations(): void {
  if (isCounting) return;
  isCounting = true;
  for (const name of ['alloc', 'allocUnsafe', 'allocUnsafeSlow'] as const) {
    const original = Buffer[name] as (size: number, ...more: unknown[]) => Buffer<ArrayBuffer>;
    Buffer[name] = (size: number, ...more: unknown[]) => {
      requestedBytes += size;
      return original(size, ...more);
    };
  }
  const globals = globalThis as unknown as Record<string, { new (...args: unknown[]): object; BYTES_PER_ELEMENT: number }>;
  for (const name of ['Uint8Array', 'Uint16Array', 'Uint32Array', 'Int32Array', 'Float64Array', 'BigUint64Array']) {
    const original = globals[name]!;
    globals[name] = new Proxy(original, {
      construct(target, args: unknown[], newTarget): object {
        if (typeof args[0] === 'number') requestedBytes += args[0] * target.BYTES_PER_ELEMENT;
        return Reflect.construct(target, args, newTarget) as object;
      },
    });
  }
}

const TEXT_BYTES = 16 << 10;

/** A thread that ends the process, with the input that it stands at, when this thread does not come back from it. */
class Watch {
  readonly #shared = new SharedArrayBuffer(8 + TEXT_BYTES);
  /** The number of inputs begun and ended; the length of the text behind it. */
  readonly #numbers = new Int32Array(this.#shared, 0, 2);
  readonly #text = new Uint8Array(this.#shared, 8);
  #worker: Worker | undefined;

  begin(describe: () => string): void {
    this.#worker ??= this.#start();
    const { written } = new TextEncoder().encodeInto(describe().slice(0, TEXT_BYTES / 4), this.#text);
    this.#numbers[1] = written;
    Atomics.add(this.#numbers, 0, 1);
  }

  end(): void {
    Atomics.add(this.#numbers, 0, 1);
  }

  #start(): Worker {
    const worker = new Worker(WATCHER, { eval: true, workerData: { shared: this.#shared, stallMs: STALL_MS_MAX } });
    worker.unref();
    return worker;
  }
}

const WATCHER = `
const { workerData: { shared, stallMs } } = require('node:worker_threads');
const numbers = new Int32Array(shared, 0, 2);
for (let seen = -1, since = 0; ; ) {
  const now = Atomics.load(numbers, 0);
  if (now !== seen || now % 2 === 0) [seen, since] = [now, performance.now()];
  else if (performance.now() - since > stallMs) {
    const text = Buffer.from(new Uint8Array(shared, 8, numbers[1])).toString();
    require('node:fs').writeSync(2, 'fuzz: no end after ' + stallMs + ' ms: ' + text + '\\n');
    process.kill(process.pid, 'SIGKILL');
  }
  Atomics.wait(numbers, 0, now, 1000);
}`;

const watch = new Watch();
