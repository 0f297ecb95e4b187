import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { startTestDatabase } from '../testkit/mod.ts';
import { catalogFaultOf, readAgain } from './faults.ts';

const withCode = (code: string, message = 'x'): Error => Object.assign(new Error(message), { code });

test('faults of PostgreSQL are told from errors of the one who asked', () => {
  const table: Record<string, ReturnType<typeof catalogFaultOf>> = {
    '40001': 'again',
    '40P01': 'again',
    '53100': 'refused',
    '53300': 'refused',
    '55P03': 'refused',
    '57014': 'refused',
    '58030': 'refused',
    '57P01': 'unknown',
    '57P03': 'unknown',
    '08006': 'unknown',
    ECONNRESET: 'unknown',
    ECONNREFUSED: 'unknown',
    // Of the statement, not of PostgreSQL.
    '23505': null,
    '22P02': null,
    '42601': null,
    PH002: null,
    PH003: null,
    ENOSPC: null,
    'store-unavailable': null,
    'repository-not-found': null,
  };
  for (const [code, fault] of Object.entries(table)) assert.equal(catalogFaultOf(withCode(code)), fault, code);
  assert.equal(catalogFaultOf(Object.assign(withCode('ENOENT'), { syscall: 'open' })), null);
  assert.equal(catalogFaultOf(new TypeError('cannot read properties of undefined')), null);
  assert.equal(catalogFaultOf('no error at all'), null);
});

test('what pg itself says of a connection that breaks, hangs or is not to be had is a fault', async () => {
  const database = await startTestDatabase();
  const pool = new pg.Pool({ connectionString: database.url, max: 1, connectionTimeoutMillis: 200, query_timeout: 200 });
  pool.on('error', () => {});
  try {
    const ended = pool.query('select pg_terminate_backend(pg_backend_pid())').catch((error: unknown) => error);
    assert.equal(catalogFaultOf(await ended), 'unknown');
    const late = await pool.query('select pg_sleep(60)').catch((error: unknown) => error);
    assert.equal(catalogFaultOf(late), 'unknown');
    const client = await pool.connect();
    const none = await pool.query('select 1').catch((error: unknown) => error);
    client.release(true);
    assert.equal(catalogFaultOf(none), 'unknown');
  } finally {
    await pool.end();
    await database.stop();
  }
});

test('a statement that reads is run again for a connection that was lost, so many times, and for nothing else', async () => {
  const runs = async (errors: readonly Error[]): Promise<[number, unknown]> => {
    let count = 0;
    const outcome = await readAgain(async () => {
      const error = errors[count++];
      if (error !== undefined) throw error;
      return 'read';
    }).catch((error: unknown) => error);
    return [count, outcome];
  };
  const lost = withCode('ECONNRESET');
  assert.deepEqual(await runs([]), [1, 'read']);
  assert.deepEqual(await runs([lost, new Error('Connection terminated unexpectedly'), withCode('57P01')]), [4, 'read']);
  assert.deepEqual(await runs([lost, lost, lost, lost, lost]), [4, lost]);
  for (const error of [withCode('ECONNREFUSED'), new Error('Query read timeout'), withCode('57014')])
    assert.deepEqual(await runs([error]), [1, error]);
});
