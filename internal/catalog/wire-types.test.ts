import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import pg from 'pg';
import { byteaArray, numberArray } from '../../db/queries/publish.ts';
import { startTestDatabase, type TestDatabase } from '../testkit/mod.ts';
import { catalogTypes, parseByteaArray, parseNumberArray } from './wire-types.ts';

const whole = fc.oneof(fc.maxSafeNat(), fc.nat(100), fc.constantFrom(0, -1, 2 ** 31, 2 ** 32, 2 ** 53 - 1));
const bytes = fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array));

describe('values on their way to PostgreSQL and back', () => {
  let database: TestDatabase;
  let client: pg.Client;

  before(async () => {
    database = await startTestDatabase();
    client = new pg.Client({ connectionString: database.url, types: catalogTypes() });
    await client.connect();
  });
  after(async () => {
    await client?.end();
    await database?.stop();
  });

  test('arrays of whole numbers read as they were written', () => {
    fc.assert(fc.property(fc.array(whole), (numbers) => assert.deepEqual([...parseNumberArray(numberArray(numbers))], numbers)));
  });

  test('arrays of bytes read as PostgreSQL writes them', () => {
    const text = (value: Buffer | null): string => (value === null ? 'NULL' : `"\\\\x${value.toString('hex')}"`);
    fc.assert(
      fc.property(fc.array(fc.option(bytes)), (values) => {
        assert.deepEqual(parseByteaArray(`{${values.map(text).join(',')}}`), values);
      }),
    );
  });

  test('PostgreSQL gives back what it was given', async () => {
    const sample = fc.tuple(fc.array(whole), fc.array(fc.option(bytes)), whole, bytes);
    await fc.assert(
      fc.asyncProperty(sample, async ([numbers, values, number, value]) => {
        const { rows } = await client.query(
          'select $1::bigint[] as numbers, $2::bytea[] as arrays, $3::bigint as number, $4::bytea as bytes',
          [numberArray(numbers), byteaArray(values), number, value],
        );
        assert.deepEqual(rows, [{ numbers: Float64Array.from(numbers), arrays: values, number, bytes: value }]);
      }),
      { numRuns: 60 },
    );
  });

  test('a missing number is NaN, and no array is null', async () => {
    const { rows } = await client.query(
      "select '{1,NULL,3}'::bigint[] as numbers, null::bigint[] as none, '{}'::bytea[] as empty",
    );
    assert.deepEqual(rows, [{ numbers: Float64Array.of(1, Number.NaN, 3), none: null, empty: [] }]);
  });

  test('large arrays are read whole', async () => {
    const { rows } = await client.query('select array_agg(i * 4294967296) as numbers from generate_series(0, 99999) i');
    const numbers = rows[0].numbers as Float64Array;
    assert.equal(numbers.length, 100_000);
    assert.equal(numbers[99_999], 99_999 * 2 ** 32);
  });
});
