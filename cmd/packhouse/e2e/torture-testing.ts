import assert from 'node:assert/strict';
import type { TestServer } from '../../../internal/testkit/mod.ts';
import type { Writer } from './soak-testing.ts';

interface LogRow {
  readonly push_id: string;
  readonly repository: string;
  readonly ref: string;
  readonly new_oid: string | null;
}

/**
 * Compares what clients know with the push log: what was acknowledged is in it, and of an atomic push all changes or none, as one push,
 * whether it was acknowledged or not. The counts: what was sent, acknowledged, and done without the client having heard.
 */
export async function assertLogTells(
  server: TestServer,
  writers: readonly Writer[],
): Promise<{ attempts: number; acknowledged: number; silent: number }> {
  const rows = await server.query<LogRow>('select push_id, repository, ref, new_oid from v_pushes where ref is not null');
  const pushes = Map.groupBy(rows, (row) => `${row.repository} ${row.push_id}`);
  /** By repository, ref and value: the pushes that set it. */
  const setters = Map.groupBy(rows, (row) => keyOf(row.repository, row.ref, row.new_oid ?? ''));
  const counts = { attempts: 0, acknowledged: 0, silent: 0 };
  for (const { name, sent } of writers) {
    for (const { updates, acknowledged } of sent) {
      counts.attempts++;
      if (acknowledged) counts.acknowledged++;
      const keys = updates.map(([ref, oid]) => keyOf(name, ref, oid));
      const found = keys.map((key) => new Set((setters.get(key) ?? []).map((row) => row.push_id)));
      // A deletion's value is nothing, as is that of others before.
      const isDeletion = updates.some(([, oid]) => oid === '');
      if (acknowledged) for (const [i, pushIds] of found.entries()) assert(pushIds.size > 0, `the log has not ${keys[i]}`);
      if (isDeletion) continue;
      for (const pushId of found.flatMap((pushIds) => [...pushIds])) {
        const whole = new Set((pushes.get(`${name} ${pushId}`) ?? []).map((row) => keyOf(name, row.ref, row.new_oid ?? '')));
        assert.deepEqual(whole, new Set(keys), `push ${pushId} is not the whole of what was sent`);
      }
      if (!acknowledged && found[0]!.size > 0) counts.silent++;
    }
  }
  return counts;
}

function keyOf(repository: string, ref: string, oid: string): string {
  return `${repository} ${ref} ${oid}`;
}
