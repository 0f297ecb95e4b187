import type { Pool, PoolClient } from 'pg';
import { catalogFaultOf } from './faults.ts';

/** Runs `work` in a transaction of a connection of its own: committed when `commits` accepts the result, rolled back when not and when it throws. */
export async function inTransaction<T>(
  pool: Pool,
  work: (client: PoolClient) => Promise<T>,
  commits: (result: T) => boolean = () => true,
): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    await client.query('begin');
    const result = await work(client);
    await client.query(commits(result) ? 'commit' : 'rollback');
    return result;
  } catch (error) {
    // Whoever does not answer is not asked for another answer: the rollback is PostgreSQL's when the connection ends.
    if (catalogFaultOf(error) === 'unknown') broken = error as Error;
    else
      await client.query('rollback').catch((failure: Error) => {
        broken = failure;
      });
    throw error;
  } finally {
    client.release(broken);
  }
}
