import type { Pool, PoolClient } from 'pg';
import { publishPush } from '../../db/queries/publish.ts';
import { repositoryState } from '../../db/queries/read.ts';
import { insertRehearsed } from '../../db/queries/repositories.ts';
import { assert } from '../base/mod.ts';
import { KIND_COMMIT } from '../object/mod.ts';
import { publishRequest } from './publish-request.ts';
import { inTransaction } from './transaction.ts';
import type { Push } from './types.ts';

/**
 * Opens so many connections and has PostgreSQL plan on each what a small push asks: on a connection that has not seen one, these statements take ten times as long,
 * and so does signing in. The pushes are of a repository that is rolled back with them.
 */
export async function rehearsePushes(pool: Pool, connections: number): Promise<void> {
  // At the same time, so that each has a connection of its own.
  await Promise.all(Array.from({ length: connections }, () => inTransaction(pool, rehearse, () => false)));
}

async function rehearse(client: PoolClient): Promise<void> {
  const { id, owner, name } = await insertRehearsed(client);
  const oids = [1, 2].map((byte) => Buffer.alloc(20, byte));
  let snapshot: string | null = null;
  let oldOid: Buffer | null = null;
  for (const newOid of oids) {
    const state = await repositoryState(client, owner, name, id, snapshot);
    assert(state !== null, 'the rehearsed repository is there');
    snapshot = state.snapshot;
    const statuses = await publishPush(client, publishRequest(pushOf(id, oldOid, newOid)));
    assert(statuses.join() === 'ok', 'a rehearsed push is taken');
    oldOid = newOid;
  }
}

function pushOf(id: number, oldOid: Buffer | null, newOid: Buffer): Push {
  const bytes = Buffer.from('PACK');
  const one = Float64Array.of(1);
  return {
    repositoryId: id,
    poolId: id,
    atomic: false,
    commands: [{ name: 'refs/heads/main', oldOid, newOid, peeled: null }],
    head: null,
    actor: '',
    requestId: '',
    options: [],
    pack: {
      id: newOid[0]!,
      place: { kind: 'tail', bytes },
      lengthBytes: bytes.length,
      objectCount: 1,
      chunkedCount: 0,
      chunkPackId: null,
      checksum: newOid,
      allReached: true,
      based: false,
      hasDuplicates: false,
      tips: newOid,
      blocks: [{ oids: newOid, kinds: Uint8Array.of(KIND_COMMIT), sizes: one, offsets: one, lengths: one }],
      graph: [Buffer.alloc(1)],
    },
    sweepEpoch: 0,
  };
}
