import type { Pool } from 'pg';
import * as queries from '../../db/queries/history.ts';
import { codeOf, PackhouseError } from '../base/mod.ts';
import { inTransaction } from './transaction.ts';
import type { Repository } from './types.ts';

/** One change of one ref. */
export interface RefChange {
  readonly pushId: number;
  readonly pushedAt: Date;
  /** Id of the token that pushed; empty for nobody in particular. */
  readonly actor: string;
  /** A binary string. */
  readonly ref: string;
  readonly oldOid: Buffer | null;
  readonly newOid: Buffer | null;
}

/** What the push log tells, and what it lets come back. */
export class HistoryCatalog {
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** Changes of a repository's refs, or of one, newest first. */
  async changes(repository: Repository, ref: string | null, limit: number): Promise<RefChange[]> {
    const name = ref === null ? null : Buffer.from(ref, 'latin1');
    const rows = await queries.refLog(this.#pool, repository.poolId, repository.id, name, limit);
    return rows.map((row) => ({
      pushId: row.push_id,
      pushedAt: row.pushed_at,
      actor: row.actor,
      ref: row.name.toString('latin1'),
      oldOid: row.old_oid,
      newOid: row.new_oid,
    }));
  }

  /** The refs as they were: exact, since every change is in the log. Names are binary strings. */
  async refsAt(repository: Repository, at: Date): Promise<{ readonly ref: string; readonly oid: Buffer }[]> {
    const rows = await queries.refsAt(this.#pool, repository.poolId, repository.id, at);
    return rows.map((row) => ({ ref: row.name.toString('latin1'), oid: row.oid }));
  }

  /** Values that a repository's refs have had within the retention and that are sure to be stored with all they reach. */
  async restorable(poolId: number, repositoryId: number, retentionMs: number): Promise<Buffer[]> {
    return queries.restorableValues(this.#pool, poolId, repositoryId, retentionMs / 1000);
  }

  /**
   * Brings back the repository of that name that was deleted last, under the same name or another one.
   * @throws PackhouseError `repository-not-found` when none was deleted within the retention, or it has been swept; `repository-exists`
   */
  async undelete(
    owner: string,
    name: string,
    as: { readonly owner: string; readonly name: string },
    retentionMs: number,
  ): Promise<void> {
    const deleted = await queries.lastDeleted(this.#pool, owner, name, retentionMs / 1000);
    const gone = new PackhouseError('repository-not-found', `no repository ${owner}/${name} was deleted within the retention`);
    if (deleted === null) throw gone;
    try {
      await inTransaction(this.#pool, async (client) => {
        if (!(await queries.undelete(client, deleted.pool_id, deleted.id, as.owner, as.name, retentionMs / 1000))) throw gone;
      });
    } catch (error) {
      if (codeOf(error) === '23505')
        throw new PackhouseError('repository-exists', `repository ${as.owner}/${as.name} exists already`);
      throw error;
    }
  }
}
