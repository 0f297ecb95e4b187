import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  FastImport,
  git,
  reachableObjects,
  scratchFolder,
  seededBytes,
  startServer,
  syntheticHistory,
  type TestServer,
  testStores,
  tryGit,
} from '../../../internal/testkit/mod.ts';

const ROUNDS = 3;
const BRANCHES = ['one', 'two', 'three'];

/** Pushes commit after commit to a branch until told to stop, and remembers what the server has acknowledged. */
class Pusher {
  readonly branch: string;
  readonly #url: string;
  readonly #local: string;
  #count = 0;
  #going = false;
  acknowledged: string | undefined;
  /** What was being pushed when the server went: it may have been taken without the answer reaching us. */
  attempted: string | undefined;
  acknowledgedCount = 0;

  constructor(url: string, local: string, branch: string) {
    this.#url = url;
    this.#local = local;
    this.branch = branch;
  }

  async run(): Promise<void> {
    this.#going = true;
    while (this.#going) {
      const importer = new FastImport(1_750_000_000 + this.#count);
      const path = `${this.branch}/${this.#count++}`;
      // Every third is too large for a tail pack.
      const content = this.#count % 3 === 0 ? seededBytes(this.#count, 1_500_000) : `${this.#count}\n`;
      const ref = `refs/heads/${this.branch}`;
      importer.commit(ref, { [path]: content }, { parents: [this.attempted ?? 'refs/heads/main'] });
      await importer.into(this.#local);
      this.attempted = await git(['rev-parse', ref], { cwd: this.#local });
      if ((await tryGit(['push', '-q', this.#url, ref], { cwd: this.#local })).status === 0) {
        this.acknowledged = this.attempted;
        this.acknowledgedCount++;
      } else {
        await sleep(100);
      }
    }
  }

  stop(): void {
    this.#going = false;
  }
}

async function startPushers(server: TestServer): Promise<Pusher[]> {
  const url = `${server.url}/frank/crash.git`;
  const source = await syntheticHistory({ commits: 10 }).into();
  await git(['push', '-q', url, 'main'], { cwd: source });
  return Promise.all(
    BRANCHES.map(async (branch) => {
      const local = join(scratchFolder(), 'own.git');
      await git(['clone', '-q', '--bare', source, local]);
      return new Pusher(url, local, branch);
    }),
  );
}

/** Runs `strike` in the midst of pushes, and goes on until each branch has been pushed again. */
async function strikeAmidPushes(pushers: readonly Pusher[], strike: () => Promise<void>, round: number): Promise<void> {
  const loops = pushers.map((pusher) => pusher.run());
  const wait = async (): Promise<void> => {
    const goals = pushers.map((pusher) => pusher.acknowledgedCount + 3);
    const deadline = performance.now() + 60_000;
    while (pushers.some((pusher, i) => pusher.acknowledgedCount < (goals[i] ?? 0))) {
      assert.ok(performance.now() < deadline, 'pushes succeed');
      await sleep(20);
    }
  };
  try {
    await wait();
    await sleep(round * 37);
    await strike();
  } finally {
    for (const pusher of pushers) pusher.stop();
    await Promise.all(loops);
  }
}

/** Every acknowledged push is there, whole; what the catalog calls live is in the store. */
async function assertNothingLost(server: TestServer, pushers: readonly Pusher[]): Promise<void> {
  const url = `${server.url}/frank/crash.git`;
  const clone = join(scratchFolder(), 'c.git');
  await git(['clone', '-q', '--mirror', url, clone]);
  await git(['fsck', '--full', '--strict', '--no-progress'], { cwd: clone });
  await reachableObjects(clone);
  for (const { branch, acknowledged, attempted } of pushers) {
    const tip = await git(['rev-parse', `refs/heads/${branch}`], { cwd: clone });
    assert.ok(tip === acknowledged || tip === attempted, `${branch} is at ${tip}, acknowledged was ${acknowledged}`);
    assert.ok(acknowledged);
    await git(['merge-base', '--is-ancestor', acknowledged, tip], { cwd: clone });
  }
  const live = await server.query<{ crate_key: string; extent_length: string }>(
    "select crate_key, extent_length from v_packs where state = 'live' and tier = 'store'",
  );
  assert.ok(live.length > 0, 'some pushes were large');
  for (const row of live) assert.equal((await server.store.head(row.crate_key))?.lengthBytes, Number(row.extent_length));
}

for (const store of testStores()) {
  describe(`a crash (${store})`, () => {
    test('of the server loses no acknowledged push', async () => {
      const server = await startServer({ store });
      try {
        const pushers = await startPushers(server);
        for (let round = 0; round < ROUNDS; round++) {
          await strikeAmidPushes(pushers, () => server.kill9(), round);
          await server.restart();
          await assertNothingLost(server, pushers);
        }
      } finally {
        await server.close();
      }
    });

    test('SIGTERM amid pushes ends with exit code 0 and loses no acknowledged push', async () => {
      const server = await startServer({ store });
      try {
        const pushers = await startPushers(server);
        let code: number | null = null;
        const stop = async (): Promise<void> => {
          code = await server.stop();
        };
        await strikeAmidPushes(pushers, stop, 1);
        assert.equal(code, 0, server.log().slice(-2000));
        await server.restart();
        await assertNothingLost(server, pushers);
      } finally {
        await server.close();
      }
    });
  });
}

describe('the embedded PostgreSQL', () => {
  const postmaster = (server: TestServer): number =>
    Number.parseInt(readFileSync(join(server.dataDir, 'postgres', 'cluster', 'postmaster.pid'), 'utf8'), 10);

  test('when it is killed, comes back under the running server, and no acknowledged push is lost', async () => {
    const server = await startServer({ database: 'embedded' });
    try {
      const pushers = await startPushers(server);
      const { pid } = server;
      await strikeAmidPushes(pushers, async () => void process.kill(postmaster(server), 'SIGKILL'), 1);
      // Pushes succeed again without a restart of the server.
      await strikeAmidPushes(pushers, async () => undefined, 0);
      assert.equal(server.pid, pid);
      await assertNothingLost(server, pushers);
    } finally {
      await server.close();
    }
  });

  test('when it is killed together with the server, recovers at the next start', async () => {
    const server = await startServer({ database: 'embedded' });
    try {
      const pushers = await startPushers(server);
      await strikeAmidPushes(
        pushers,
        async () => {
          process.kill(postmaster(server), 'SIGKILL');
          await server.kill9();
        },
        2,
      );
      await server.restart();
      await assertNothingLost(server, pushers);
    } finally {
      await server.close();
    }
  });
});
