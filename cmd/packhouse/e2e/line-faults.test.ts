import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  seededRandom,
  startServer,
  startTestDatabase,
  type Trick,
  testStores,
  withFaultyLine,
} from '../../../internal/testkit/mod.ts';
import { FaultPushes, figuresLine, noFigures, SMALL_IS_LARGE } from './fault-pushes-testing.ts';
import { assertNothingLeft } from './leftovers-testing.ts';

const TRICKS: readonly Trick[] = [
  'refuse',
  'fail',
  'hang-up',
  'stall',
  'damage-body',
  'lose-answer',
  'cut-answer',
  'stall-answer',
  'flip-answer',
  'drip',
];
const TRIES_MAX = 5;
const isShort = process.env.TORTURE_SECONDS === undefined;
const SEED = Number(process.env.TORTURE_SEED ?? 1);
const skip = testStores().includes('s3') ? false : 'PACKHOUSE_TEST_S3_ENDPOINT is not set';
/** Nearly all is read from the store; what was replaced need not wait. */
const ENV = {
  ...SMALL_IS_LARGE,
  PACKHOUSE_CACHE_BYTES_MAX: '64KiB',
  PACKHOUSE_CACHE_DISK_BYTES_MAX: '0',
  PACKHOUSE_MAINTENANCE_LEASE: '1s',
  PACKHOUSE_SWEEP_RETENTION: '0s',
  PACKHOUSE_SWEEP_CONDEMNED_PERCENT_MAX: '100',
  PACKHOUSE_STORE_S3_IDLE_TIMEOUT: '1s',
};

describe('a line to the object store', { skip }, () => {
  test(`that fails one request of twenty (seed ${SEED}) loses nothing, serves no wrong byte and leaves nothing behind`, async (t) => {
    const random = seededRandom(SEED);
    const played = new Map<string, number>();
    let requests = 0;
    let fails = false;
    const trickFor = (): Trick | undefined => {
      requests++;
      if (!fails || random(20) !== 0) return undefined;
      const trick = TRICKS[random(TRICKS.length)]!;
      played.set(trick, (played.get(trick) ?? 0) + 1);
      return trick;
    };
    await withFaultyLine(process.env.PACKHOUSE_TEST_S3_ENDPOINT ?? '', trickFor, async (endpoint) => {
      const database = await startTestDatabase();
      const env = { ...ENV, PACKHOUSE_DATABASE_URL: database.url, PACKHOUSE_STORE_S3_ENDPOINT: endpoint };
      const server = await startServer({ store: 's3', env });
      const figures = noFigures();
      let clonesFailed = 0;
      const repositories = await Promise.all(
        ['one', 'two'].map((name) => FaultPushes.open(`line/${name}`, server.url, database.url)),
      );
      try {
        fails = true;
        const work = repositories.map(async (pushes) => {
          for (let i = 0; i < (isShort ? 15 : 150); i++) {
            await pushes.struck(i % 2 === 0 ? 'large' : 'small', figures, () => {}, TRIES_MAX);
            if (i % 5 === 4) clonesFailed += await pushes.cloned();
            if (i % 7 === 6) await server.packhouse('seal', pushes.name, '--now');
            if (i % 7 === 6) await server.packhouse('compact', pushes.name);
          }
        });
        await Promise.all(work);
        fails = false;
        t.diagnostic(`${figuresLine(figures)}, clones tried again ${clonesFailed}`);
        t.diagnostic(`requests ${requests}: ${[...played].map(([trick, count]) => `${trick} ${count}`).join(', ')}`);
        assert(figures.retried * 100 <= figures.pushes * 10, 'nearly all succeed at once: the client of the store tries again');
        await assertNothingLeft(server, 1_200);
        for (const pushes of repositories) assert.equal(await pushes.cloned(), 0);
      } finally {
        for (const pushes of repositories) await pushes.close();
        await server.close();
        await database.stop();
      }
    });
  });
});
