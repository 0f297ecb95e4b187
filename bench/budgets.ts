import { INITIAL_PUSH } from './items.ts';
import type { ItemResult } from './measure.ts';
import { perOperation } from './measure.ts';
import { type StoreOperations, sumOf } from './servers.ts';
import { median } from './statistics.ts';

/** What Packhouse alone may take for an operation: no ratio to another server. */
export interface Budget {
  readonly what: string;
  readonly figure: number;
  readonly max: number;
  readonly met: boolean;
}

const MEMORY_MIB_MAX = 512;
const START_MS_MAX = 2000;
const FETCH_STATEMENTS_MAX = 4;
/** For each 100 MiB of a clone that was begun. */
const CLONE_REQUESTS_MAX = 16;
const CLONE_BYTES = 100 * 2 ** 20;
const FETCHES = ['clone', 'depth 1', 'blob:none', 'no-op fetch', 'fetch of 1 commit'];
const FULL = [INITIAL_PUSH, '8 clones', 'git push of everything', '8 × git clone'];

/** Every budget that the measured items have. */
export function budgetsOf(results: readonly ItemResult[], startMilliseconds: number): Budget[] {
  const budgets: Budget[] = [];
  const add = (what: string, figure: number | undefined, max: number): void => {
    if (figure !== undefined && !Number.isNaN(figure)) budgets.push({ what, figure, max, met: figure <= max });
  };
  const byName = new Map(results.map((result) => [result.item, result]));
  const push = byName.get('push of 1 commit')?.counts;
  add('push of 1 commit: statements', push?.statements, 6);
  add('push of 1 commit, warm: PUTs', push && countOf(push.store, 'put'), 0);
  add('push of 1 commit, warm: GETs', push && countOf(push.store, 'get'), 0);
  const coldPush = coldOf(byName.get('push of 1 commit, cold'));
  add('push of 1 commit, cold: PUTs', coldPush && countOf(coldPush, 'put'), 0);
  add('push of 1 commit, cold: GETs', coldPush && countOf(coldPush, 'get'), 4);
  for (const item of FETCHES) add(`${item}: statements`, byName.get(item)?.counts?.statements, FETCH_STATEMENTS_MAX);
  const clone = byName.get('clone');
  const cold = coldOf(byName.get('clone, cold'));
  const begun = Math.max(1, Math.ceil(median(clone?.packhouse.bytes ?? []) / CLONE_BYTES) || 1);
  add('clone, cold: store requests', cold && sumOf(cold), CLONE_REQUESTS_MAX * begun);
  add('clone, warm: store requests', clone?.counts && sumOf(clone.counts.store), 0);
  for (const item of FULL) {
    const bytes = byName.get(item)?.packhouse.peakMemoryBytes;
    add(`${item}: peak RSS, MiB`, bytes && Math.round(bytes / 2 ** 20), MEMORY_MIB_MAX);
  }
  add('start to ready on existing data, ms', Math.round(startMilliseconds), START_MS_MAX);
  return budgets;
}

function coldOf(result: ItemResult | undefined): StoreOperations | undefined {
  return result && perOperation(result.packhouse.store, result.packhouse.operations);
}

function countOf(store: StoreOperations, operation: string): number {
  return store[operation] ?? 0;
}

export function budgetLines(budgets: readonly Budget[]): string {
  const width = Math.max(...budgets.map(({ what }) => what.length));
  return budgets
    .map(({ what, figure, max, met }) => {
      const shown = Number.isInteger(figure) ? String(figure) : figure.toPrecision(3);
      return `${what.padEnd(width)}  ${shown.padStart(5)}  <= ${String(max).padEnd(5)}  ${met ? 'met' : 'missed'}`;
    })
    .join('\n');
}
