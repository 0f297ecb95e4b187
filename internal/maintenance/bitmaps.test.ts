import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findReachPart } from '../bitmap/mod.ts';
import { sidecarKey } from '../packstore/mod.ts';
import { git, scratchFolder, syntheticHistory } from '../testkit/mod.ts';
import { LateBitmaps } from './late-bitmaps.ts';
import { Yard } from './rewrite-testing.ts';
import { seal } from './seal.ts';

const NEVER = new AbortController().signal;

describe('bitmaps beside crates', () => {
  let yard: Yard;
  before(async () => {
    yard = await Yard.start(['--fetch-bitmap-commits-min', '1', '--push-tail-bytes-max', '40KiB']);
  });
  after(async () => {
    await yard?.close();
  });

  const settings = () => ({ ...yard.settings, bitmapObjectsMin: 10 });

  /** The sidecar of the only store pack of a repository: its path and where the pack's part begins, null when it has none. */
  async function reachOf(name: string): Promise<{ path: string; part: number | null } | null> {
    const [pack] = (await yard.livePacks(name)).filter(({ tier }) => tier === 'store');
    const key = sidecarKey(pack!.crateKey!, 'reach');
    if ((await yard.store.head(key)) === null) return null;
    const path = join(yard.server.dataDir, 'packs', key);
    const bytes = readFileSync(path);
    const part = findReachPart(bytes, bytes.length, pack!.extentOffset);
    return { path, part: part === null || typeof part === 'number' ? null : part.offset };
  }

  test('are made by a seal, found sound by fsck, and asked for when a branch is gone', async () => {
    const local = await yard.pushOneByOne('sealed', 30);
    await git(['branch', 'gone', 'main~10'], { cwd: local });
    await git(['push', '-q', yard.url('sealed'), 'gone'], { cwd: local });
    await seal(settings(), { poolId: await yard.poolOf('sealed'), now: true }, NEVER);
    assert.ok((await reachOf('sealed'))?.part);
    assert.deepEqual(await yard.problems(), []);
    await git(['push', '-q', '-f', yard.url('sealed'), 'main~5:main'], { cwd: local });
    await git(['update-ref', 'refs/heads/main', 'main~5'], { cwd: local });
    await yard.assertClones('sealed', local);
  });

  test('that are damaged are told by fsck, and clones go without them', async () => {
    const { path, part } = (await reachOf('sealed'))!;
    const sound = readFileSync(path);
    for (const at of [0, part! + 5, part! + 40, sound.length - 30]) {
      const damaged = Buffer.from(sound);
      damaged[at]! ^= 1;
      writeFileSync(path, damaged);
      assert.ok(
        (await yard.problems()).some((line) => line.startsWith('reach: ')),
        `byte ${at}`,
      );
      await yard.server.stop();
      await yard.server.restart();
      const clone = scratchFolder('clone');
      await git(['clone', '-q', '--mirror', yard.url('sealed'), clone]);
      await git(['fsck', '--strict', '--full'], { cwd: clone });
    }
    writeFileSync(path, sound);
    assert.deepEqual(await yard.problems(), []);
  });

  test('are made later for a large push, once', async () => {
    const local = await syntheticHistory({ commits: 120 }).into();
    await git(['push', '-q', '--mirror', yard.url('late')], { cwd: local });
    assert.equal(await reachOf('late'), null);
    const bitmaps = new LateBitmaps(settings());
    const report = await bitmaps.make(NEVER);
    assert.deepEqual({ ...report, bytes: 0 }, { crates: 1, packs: 1, bytes: 0, failed: 0 });
    assert.ok((await reachOf('late'))?.part);
    assert.deepEqual(await yard.problems(), []);
    assert.deepEqual(await bitmaps.due(), []);
    assert.deepEqual(await new LateBitmaps(settings()).due(), []);
  });

  test('are looked for once in a crate that cannot have them', async () => {
    const local = await syntheticHistory({ commits: 300, seed: 7 }).into();
    await git(['push', '-q', yard.url('open'), 'main~120:refs/heads/main'], { cwd: local });
    const first = (await yard.livePacks('open')).map(({ id }) => id);
    await git(['push', '-q', yard.url('open'), 'main'], { cwd: local });
    const report = await new LateBitmaps(settings()).make(NEVER);
    assert.deepEqual({ ...report, bytes: 0 }, { crates: 2, packs: 1, bytes: 0, failed: 0 });
    assert.equal(first.length, 1);
    assert.deepEqual(await new LateBitmaps(settings()).due(), []);
  });
});
