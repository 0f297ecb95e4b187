import { randomUUID } from 'node:crypto';
import type { Catalog, Pack, Repository } from '../catalog/mod.ts';
import { encodeCommitRecord, KIND_COMMIT } from '../object/mod.ts';
import { oidOf } from '../testkit/mod.ts';

/** An oid that is the same in every run. */
export const oid = (name: string): Buffer => Buffer.from(oidOf('blob', name), 'hex');

interface CommitPush {
  readonly branch: string;
  readonly commit: string;
  readonly parents: readonly string[];
  /** What the branch names until then; null: it is new. */
  readonly before: string | null;
  /** Numbers of packs may come from the caller: processes reserve them in batches. */
  readonly id?: number;
}

/** Publishes a pack of one commit, which a branch is set to. */
export async function pushCommit(catalog: Catalog, repository: Repository, push: CommitPush): Promise<Pack> {
  const packId = push.id ?? (await catalog.reservePackId());
  const oldOid = push.before === null ? null : oid(push.before);
  await catalog.publish(
    {
      repositoryId: repository.id,
      poolId: repository.poolId,
      atomic: true,
      commands: [{ name: `refs/heads/${push.branch}`, oldOid, newOid: oid(push.commit), peeled: null }],
      head: null,
      actor: '',
      requestId: '',
      options: [],
      pack: {
        id: packId,
        place: { kind: 'tail', bytes: Buffer.from('PACK') },
        lengthBytes: 4,
        objectCount: 1,
        checksum: oid('checksum'),
        allReached: true,
        based: true,
        hasDuplicates: false,
        tips: oid(push.commit),
        ...tablesOf([push]),
        chunkedCount: 0,
        chunkPackId: null,
      },
      sweepEpoch: null,
    },
    'sha1',
  );
  return (await catalog.packs(repository.poolId, [packId]))[0]!;
}

/** The object block and graph records of a pack of commits. */
function tablesOf(commits: readonly { readonly commit: string; readonly parents: readonly string[] }[]) {
  const sorted = commits.toSorted((a, b) => Buffer.compare(oid(a.commit), oid(b.commit)));
  const block = {
    oids: Buffer.concat(sorted.map(({ commit }) => oid(commit))),
    kinds: new Uint8Array(sorted.length).fill(KIND_COMMIT),
    sizes: new Float64Array(sorted.length).fill(1),
    offsets: Float64Array.from(sorted, (_, i) => 12 + i),
    lengths: new Float64Array(sorted.length).fill(1),
  };
  const records = commits.map(({ commit, parents }) =>
    encodeCommitRecord(oid(commit), { tree: oid('tree'), parents: parents.map(oid), committerTimeSeconds: 1 }),
  );
  return { blocks: [block], graph: [Buffer.concat(records)] };
}

/** Puts a store pack of the same commits in the place of packs, as maintenance does. Its id. */
export async function swapCommits(
  catalog: Catalog,
  poolId: number,
  inputs: readonly number[],
  commits: readonly { readonly commit: string; readonly parents: readonly string[] }[],
): Promise<number> {
  const token = randomUUID();
  if (!(await catalog.maintenance.lease(poolId, inputs, token, 60_000))) throw new Error('the packs are leased');
  const packId = await catalog.reservePackId();
  const crate = { key: `crates/aa/${randomUUID()}.pack`, tier: 'store', origin: 'seal' } as const;
  await catalog.maintenance.beginCrate(crate, [{ poolId, packId, token }], 60_000);
  const output = {
    packId,
    extentOffset: 0,
    lengthBytes: 4,
    checksum: oid('checksum'),
    objectCount: commits.length,
    allReached: true,
    based: true,
    hasDuplicates: false,
    tips: oid(commits.at(-1)!.commit),
    tables: { kind: 'made', ...tablesOf(commits) },
    chunkedOids: Buffer.alloc(0),
  } as const;
  await catalog.maintenance.swap({ poolId, format: 'sha1', epoch: 0, token, inputs, outputs: [output], reason: 'seal' });
  return packId;
}
