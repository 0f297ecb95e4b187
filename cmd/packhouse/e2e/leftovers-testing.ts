import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestServer } from '../../../internal/testkit/mod.ts';

/** After graces of `graceMs` and sweeps no row, crate, sidecar or unfinished upload is left of what was killed, and fsck finds nothing wrong. */
export async function assertNothingLeft(server: TestServer, graceMs: number): Promise<void> {
  // Nobody reads while what was replaced leaves: it need not wait for the longest fetch.
  const env = {
    PACKHOUSE_FETCH_MAX_DURATION: '1s',
    PACKHOUSE_MAINTENANCE_READER_MARGIN: '0s',
    PACKHOUSE_MAINTENANCE_UPLOAD_LEASE: '1s',
  };
  const verb = async (...args: readonly string[]): Promise<void> => {
    const { code, stdout, stderr } = await server.packhouseWith(env, ...args);
    assert.equal(code, 0, stdout + stderr);
  };
  await sleep(graceMs);
  await verb('seal', '--now');
  await verb('compact');
  // What the last snapshot names stays until another has seen that it was replaced; what one sweep lets go leaves by the next.
  for (let i = 0; i < 2; i++) {
    await sleep(graceMs);
    await verb('snapshot', '--now');
    await verb('sweep', '--yes');
  }
  await sleep(graceMs);
  await verb('snapshot', '--now');
  await verb('sweep', '--yes');
  // A deleted pack that lies between live ones in a crate is the crate's dead space.
  const left =
    await server.query(`select k.pool_id, k.id, k.state from packs k where k.state <> 'live' and not (k.state = 'deleted'
    and exists (select from packs o where o.crate_key = k.crate_key and o.state = 'live'))`);
  assert.deepEqual(left, []);
  const crates = await server.query<{ crate_key: string }>('select distinct crate_key from packs where crate_key is not null');
  const named = new Set(crates.map((row) => row.crate_key.replace(/\.pack$/, '')));
  for await (const { key } of server.store.list('crates/')) assert(named.has(key.replace(/\.[a-z]+$/, '')), `${key} is left`);
  assert.equal(await server.store.removeUnfinished(0), 0);
  await verb('fsck');
}
