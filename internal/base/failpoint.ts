import { setTimeout as sleep } from 'node:timers/promises';
import { PackhouseError } from './errors.ts';

/**
 * Moments at which a test may kill the process, make it fail or make it wait: the boundaries between what is durable and what is not.
 * cmd/packhouse/e2e/failpoints.test.ts kills at every one of them, so that none is named that nothing reaches.
 */
export const FAILPOINTS = [
  'push.repository-created',
  'push.mid-pack',
  'push.verified',
  'push.intent-written',
  'push.chunks-put',
  'push.crate-put',
  'push.placed',
  'push.mid-copy',
  'push.before-commit',
  'push.after-commit',
  'push.mid-report',
  'fetch.mid-pack',
  'fs.file-written',
  'fs.file-renamed',
  's3.multipart-made',
  's3.part-sent',
  's3.before-complete',
  's3.after-complete',
  'rewrite.leased',
  'rewrite.prepared',
  'rewrite.uploading',
  'rewrite.crate-put',
  'rewrite.uploaded',
  'rewrite.mid-swap',
  'rewrite.swapped',
  'chunks.mid-move',
  'sweep.roots-read',
  'sweep.marked',
  'sweep.leased',
  'sweep.rewritten',
  'sweep.caught-up',
  'sweep.mid-condemn',
  'sweep.condemned',
  'retire.marked',
  'retire.rows-deleted',
  'retire.mid-crate',
  'retire.bytes-deleted',
  'retire.listed',
  'retire.orphan-found',
  'job.claimed',
  'job.done',
  'snapshot.put',
  'snapshot.recorded',
  'backup.snapshot-written',
  'backup.crate-copied',
  'backup.snapshot-placed',
  'restore.object-copied',
  'rebuild.staged',
  'rebuild.pack-read',
  'rebuild.before-names',
  'serve.draining',
] as const;

export type Failpoint = (typeof FAILPOINTS)[number];

type Action =
  | { readonly kind: 'kill' }
  | { readonly kind: 'error' }
  | { readonly kind: 'note' }
  | { readonly kind: 'sleep'; readonly ms: number };

interface Arming {
  readonly action: Action;
  /** The hit at which it happens; 0: at each. */
  readonly nth: number;
  hits: number;
}

const NAMES: ReadonlySet<string> = new Set(FAILPOINTS);
const ENTRY = /^(?<name>[a-z.0-9-]+)=(?<kind>kill|error|note|sleep\((?<ms>\d+)\))(?::(?<nth>\d+))?$/;
const NOTHING = Promise.resolve();

/** Empty but in tests. */
const armed = new Map<string, Arming>();

/**
 * What a test has asked for at this moment: nothing, as a rule, at the price of looking at an empty map.
 * @throws PackhouseError `failpoint`
 */
export function failpoint(name: Failpoint): Promise<void> {
  return armed.size === 0 ? NOTHING : hit(name);
}

async function hit(name: Failpoint): Promise<void> {
  for (const key of [name, 'any']) {
    const arming = armed.get(key);
    if (arming === undefined) continue;
    arming.hits++;
    if (arming.nth === 0 || arming.hits === arming.nth) await act(name, arming.action);
  }
}

async function act(name: Failpoint, action: Action): Promise<void> {
  if (action.kind === 'sleep') return void (await sleep(action.ms));
  if (action.kind === 'error') throw new PackhouseError('failpoint', `made to fail at ${name}`, { name });
  process.stderr.write(`failpoint ${name}: ${action.kind}\n`);
  if (action.kind === 'kill') process.kill(process.pid, 'SIGKILL');
}

/**
 * Arms failpoints of this process: `push.after-commit=kill:3,rewrite.uploaded=error`. A name (or `any`, for all together), an action (`kill`: SIGKILL;
 * `error`; `sleep(ms)`; `note`: a line on stderr), and at which hit it happens; without, at each.
 * @throws PackhouseError `config-invalid` for what is none
 */
export function armFailpoints(text: string): void {
  for (const entry of text.split(',').filter((part) => part !== '')) {
    const { name, kind, ms, nth } = ENTRY.exec(entry)?.groups ?? {};
    if (name === undefined || (name !== 'any' && !NAMES.has(name)))
      throw new PackhouseError('config-invalid', `PACKHOUSE_FAILPOINTS: '${entry}' is no failpoint`);
    const action: Action = ms === undefined ? { kind: kind as 'kill' | 'error' | 'note' } : { kind: 'sleep', ms: Number(ms) };
    armed.set(name, { action, nth: Number(nth ?? 0), hits: 0 });
  }
}

/** Turns all failpoints off. */
export function disarmFailpoints(): void {
  armed.clear();
}
