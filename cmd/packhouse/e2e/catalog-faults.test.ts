import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  PostgresProxy,
  type QueryFault,
  seededRandom,
  startServer,
  startTestDatabase,
  type TestDatabase,
  type TestServer,
} from '../../../internal/testkit/mod.ts';
import { FaultPushes, type Figures, figuresLine, noFigures, type PushSize, SMALL_IS_LARGE } from './fault-pushes-testing.ts';

/** More requests than any push makes. */
const REQUESTS_MAX = 60;
/** Far longer than anything of these takes. */
const WAIT_MS_MAX = 60_000;

const isShort = process.env.TORTURE_SECONDS === undefined;
const SEED = Number(process.env.TORTURE_SEED ?? 1);

describe(`PostgreSQL (seed ${SEED})`, () => {
  let database: TestDatabase;
  let proxy: PostgresProxy;
  let server: TestServer;
  let pushes: FaultPushes;

  before(async () => {
    database = await startTestDatabase();
    const started = await PostgresProxy.start(database.url);
    proxy = started.proxy;
    const env = { ...SMALL_IS_LARGE, PACKHOUSE_DATABASE_URL: started.url, PACKHOUSE_DATABASE_STATEMENT_TIMEOUT: '1500ms' };
    server = await startServer({ env });
    pushes = await FaultPushes.start('faults/catalog', server.url, database.url);
  });
  after(async () => {
    await pushes?.close();
    await server?.close();
    await proxy?.stop();
    await database?.stop();
  });

  /** Strikes each request of a push in turn, in turns by what is given; a push that has fewer ends it. */
  async function strikeEach(size: PushSize, faults: readonly QueryFault[], figures: Figures): Promise<void> {
    // The first two statements are those of a small one.
    for (let n = size === 'small' ? 1 : 3; ; n++) {
      assert(n <= REQUESTS_MAX, 'a push ends');
      const injected = proxy.injected;
      proxy.watch((query) => (query === n ? faults[n % faults.length] : undefined));
      await pushes.struck(size, figures, () => proxy.watch());
      if (proxy.injected === injected) return;
    }
  }

  for (const size of ['small', 'large'] as const satisfies readonly PushSize[]) {
    test(`whose connection is cut before or after any request of a ${size} push leaves all of it or nothing, and what is said is true`, async (t) => {
      const figures = noFigures();
      const ways = ['cut', 'lose-answer'] as const;
      // The long form cuts each request both ways.
      for (const faults of isShort && size === 'large' ? [ways] : ways.map((way) => [way]))
        await strikeEach(size, faults, figures);
      assert.equal(await pushes.cloned(), 0);
      t.diagnostic(figuresLine(figures));
      assert(figures.pushes > 6, 'requests were struck');
    });
  }

  test('whose connection is cut after any number of bytes leaves all of a push or nothing, and what is said is true', async (t) => {
    const figures = noFigures();
    proxy.cutAtByte(Number.POSITIVE_INFINITY);
    await pushes.push('large');
    const all = proxy.bytes;
    const random = seededRandom(SEED);
    for (let cuts = 0; cuts < (isShort ? 6 : 300); cuts++) {
      const at = 1 + random(all);
      proxy.cutAtByte(at);
      await pushes.struck('large', figures, () => proxy.cutAtByte(Number.POSITIVE_INFINITY));
    }
    t.diagnostic(`${figuresLine(figures)}, of ${all} bytes`);
  });

  /** The next statement of a name comes to grief. */
  function strikeOnce(statement: string, fault: QueryFault): void {
    let struck = false;
    proxy.watch((_, messages) => {
      if (struck || !messages.includes(statement)) return undefined;
      struck = true;
      return fault;
    });
  }

  test('whose connection is half open hangs no client', async (t) => {
    const figures = noFigures();
    const strikes = [
      ['repository-state', 'stall'],
      ['publish-push', 'stall-answer'],
    ] as const;
    for (const [statement, fault] of strikes) {
      const injected = proxy.injected;
      const began = performance.now();
      strikeOnce(statement, fault);
      await pushes.struck('small', figures, () => {});
      assert.equal(proxy.injected, injected + 1);
      assert(performance.now() - began < WAIT_MS_MAX);
    }
    // Of the second the log tells that it has happened.
    assert.deepEqual([figures.acknowledged, figures.brokenOff], [2, 1]);
    t.diagnostic(figuresLine(figures));
  });

  test('whose connection is half open amid the transaction of a push gives up what that has locked, and the push succeeds', async () => {
    const figures = noFigures();
    strikeOnce('publish-push', 'stall-answer');
    await pushes.struck('large', figures, () => {});
    assert.equal(figures.acknowledged, 1);
  });

  /** The first `times` publications fail with an SQLSTATE. */
  async function failWith(sqlstate: string, times: number): Promise<void> {
    await pushes.query(`drop sequence if exists strikes; create sequence strikes;
      create or replace function strike() returns trigger language plpgsql as $$
      begin
        if nextval('strikes') <= ${times} then raise exception 'struck' using errcode = '${sqlstate}'; end if;
        return new;
      end $$;
      drop trigger if exists strike on pushes;
      create trigger strike before insert on pushes for each row execute function strike();`);
  }
  const heal = async (): Promise<void> => void (await pushes.query('drop trigger if exists strike on pushes'));

  for (const [sqlstate, what, size] of [
    ['40001', 'a serialization failure', 'large'],
    ['40P01', 'a deadlock', 'small'],
  ] as const) {
    test(`that reports ${what} is asked again, and the push succeeds; when it goes on so, the push is refused`, async () => {
      const figures = noFigures();
      await failWith(sqlstate, 2);
      await pushes.struck(size, figures, heal);
      assert.equal(figures.acknowledged, 1);
      await failWith(sqlstate, 1000);
      await pushes.struck(size, figures, heal);
      assert.equal(figures.refused, 1);
    });
  }

  for (const [sqlstate, what] of [
    ['53100', 'has no room on its disk'],
    ['53200', 'has no memory'],
    ['57014', 'cancels a statement that runs too long'],
    ['58030', 'cannot read its disk'],
  ] as const) {
    test(`that ${what} has the push refused in the words of git`, async () => {
      const figures = noFigures();
      await failWith(sqlstate, 1);
      await pushes.struck('small', figures, heal);
      assert.equal(figures.refused, 1);
    });
  }

  test('that has no connection left is told by /readyz, fails pushes cleanly, and is used again', async (t) => {
    const figures = noFigures();
    proxy.refuses = true;
    proxy.cutAll();
    assert.equal((await fetch(`${server.url}/readyz`)).status, 503);
    await pushes.struck('small', figures, () => {
      proxy.refuses = false;
    });
    assert.deepEqual([figures.brokenOff, figures.brokenOffAndThere], [1, 0]);
    assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
    t.diagnostic(figuresLine(figures));
  });

  test('that ends all its connections again and again under pushes loses none that was acknowledged', async (t) => {
    const figures = noFigures();
    const branches = await Promise.all(
      ['a', 'b'].map((name) => FaultPushes.start(`faults/ended-${name}`, server.url, database.url)),
    );
    let going = true;
    let ended = 0;
    const strikes = (async () => {
      while (going) {
        const rows = await pushes.query(`select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and application_name = 'packhouse'`);
        ended += rows.length;
        await sleep(150);
      }
    })();
    const pushAmidStrikes = async (branch: FaultPushes): Promise<void> => {
      for (let i = 0; i < 8; i++) await branch.struck(i % 4 === 3 ? 'large' : 'small', figures, () => {}, 30);
    };
    try {
      await Promise.all(branches.map(pushAmidStrikes));
    } finally {
      going = false;
      await strikes;
    }
    for (const branch of branches) {
      assert.equal(await branch.cloned(), 0);
      await branch.close();
    }
    t.diagnostic(`${figuresLine(figures)}, connections ended ${ended}`);
    assert(ended > 10);
  });
});
