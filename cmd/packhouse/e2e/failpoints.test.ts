import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FAILPOINTS, type Failpoint } from '../../../internal/base/mod.ts';
import { type StoreKind, scratchFolder, testStores } from '../../../internal/testkit/mod.ts';
import { House, type PushKind } from './failpoints-testing.ts';

/** How a moment is come to: each kills a process there, and looks at what is left. */
type Way = (house: House, at: Failpoint) => Promise<void>;

const push =
  (kind: PushKind, outcome: 'before' | 'after', isFirst = false): Way =>
  (house, at) =>
    house.killedPush(at, kind, outcome, isFirst);

/** Sealing of a tail, and merging of what was sealed. */
const seal: Way = async (house, at) => {
  const { name } = await house.repository(2);
  await house.killedVerb(at, ['seal', name, '--now']);
};

const compact: Way = async (house, at) => {
  const known = await house.repository(0);
  for (let i = 0; i < 2; i++) await house.push(known, 'large');
  await house.killedVerb(at, ['compact', known.name]);
};

/** A sweep that writes packs again. */
const sweep: Way = async (house, at) => {
  const known = await house.repository(1);
  await house.makeGarbage(known, 'large');
  await house.verb('seal', known.name, '--now');
  await house.killedVerb(at, ['sweep', known.name, '--yes', '--thorough']);
};

/** What earlier ones have left behind leaves; some crate is dead by now. */
const retire: Way = async (house, at) => {
  const known = await house.repository(2);
  for (let i = 0; i < 2; i++) await house.push(known, 'large');
  await house.verb('compact', known.name);
  await house.makeOrphan();
  await house.killedVerb(at, ['sweep', '--yes']);
};

const snapshot: Way = async (house, at) => {
  await house.repository(1);
  await house.killedVerb(at, ['snapshot', '--now']);
  await house.verb('snapshot', '--now');
};

const backup: Way = async (house, at) => {
  await house.push(await house.repository(1), 'large');
  const folder = scratchFolder('backup');
  await house.killedVerb(at, ['backup', folder]);
  await house.verb('backup', folder);
};

const restore: Way = async (house, at) => {
  const folder = scratchFolder('backup');
  await house.push(await house.repository(1), 'large');
  await house.verb('backup', folder);
  await house.killedRestore(at, folder);
};

const job: Way = async (house, at) => {
  await house.repository(1);
  await house.killedJob(at);
};

/** Every failpoint there is, or it does not compile. */
const WAYS: Readonly<Record<Failpoint, Way>> = {
  'push.repository-created': push('small', 'before', true),
  'push.mid-pack': push('large', 'before'),
  'push.verified': push('small', 'before'),
  'push.intent-written': push('large', 'before'),
  'push.chunks-put': push('large', 'before'),
  'push.crate-put': push('large', 'before'),
  'push.placed': push('small', 'before'),
  'push.mid-copy': push('large', 'before'),
  'push.before-commit': push('large', 'before'),
  'push.after-commit': push('small', 'after'),
  'push.mid-report': push('large', 'after'),
  'fetch.mid-pack': (house, at) => house.killedClone(at),
  'fs.file-written': push('large', 'before'),
  'fs.file-renamed': push('large', 'before'),
  's3.multipart-made': push('multipart', 'before'),
  's3.part-sent': push('multipart', 'before'),
  's3.before-complete': push('multipart', 'before'),
  's3.after-complete': push('multipart', 'before'),
  'rewrite.leased': seal,
  'rewrite.prepared': seal,
  'rewrite.uploading': seal,
  'rewrite.crate-put': seal,
  'rewrite.uploaded': seal,
  'rewrite.mid-swap': seal,
  'rewrite.swapped': compact,
  'chunks.mid-move': compact,
  'sweep.roots-read': sweep,
  'sweep.marked': sweep,
  'sweep.leased': sweep,
  'sweep.rewritten': sweep,
  'sweep.caught-up': sweep,
  'sweep.mid-condemn': sweep,
  'sweep.condemned': sweep,
  'retire.marked': retire,
  'retire.rows-deleted': retire,
  'retire.mid-crate': retire,
  'retire.bytes-deleted': retire,
  'retire.listed': retire,
  'retire.orphan-found': retire,
  'job.claimed': job,
  'job.done': job,
  'snapshot.put': snapshot,
  'snapshot.recorded': snapshot,
  'backup.snapshot-written': backup,
  'backup.crate-copied': backup,
  'backup.snapshot-placed': backup,
  'restore.object-copied': restore,
  'rebuild.staged': restore,
  'rebuild.pack-read': restore,
  'rebuild.before-names': restore,
  'serve.draining': (house, at) => house.killedStop(at),
};

/** `make torture` kills at every moment; the short form where most hangs on it, and only looks whether the others are come to. */
const SHORT: ReadonlySet<Failpoint> = new Set([
  'push.mid-pack',
  'push.crate-put',
  'push.before-commit',
  'push.after-commit',
  'fs.file-written',
  's3.part-sent',
  'rewrite.crate-put',
  'rewrite.mid-swap',
  'chunks.mid-move',
  'sweep.mid-condemn',
  'retire.mid-crate',
  'snapshot.put',
  'rebuild.pack-read',
]);
const isShort = process.env.TORTURE_SECONDS === undefined;

/** Moments of one kind of store; the others are gone through on files only, which is the faster way. */
const isOf = (store: StoreKind) => (at: Failpoint) => (at.startsWith('s3.') ? store === 's3' : store === 'fs');

for (const store of testStores()) {
  describe(`a process killed (${store})`, () => {
    let house: House;
    before(async () => {
      house = await House.start(store);
    });
    after(() => house.server.close());

    test('has moments of which none is dead', async () => {
      const reached = await house.tour(store === 's3');
      assert.deepEqual(
        FAILPOINTS.filter(isOf(store)).filter((name) => !reached.has(name)),
        [],
      );
    });

    for (const at of FAILPOINTS.filter(isOf(store)).filter((name) => !isShort || SHORT.has(name))) {
      test(`at ${at} leaves a whole repository`, () => WAYS[at](house, at));
    }

    test('anywhere leaves nothing behind after the grace and a sweep', () => house.assertNothingLeft());
  });
}
