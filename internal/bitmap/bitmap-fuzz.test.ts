import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { fuzz, mutants, unlessRefused } from '../testkit/mod.ts';
import { packOf, tangledHistory } from './bitmap-testing.ts';
import { BitSet } from './bitset.ts';
import { buildReach, checkReach } from './build.ts';
import { ReachBitmaps } from './reach-file.ts';
import { encodeReachSidecar, findReachPart } from './sidecar.ts';

test('bitmaps to which something was done are refused, or sets of objects of their pack', async (t) => {
  const pack = await packOf(await tangledHistory(3, 12));
  const count = pack.kinds.length;
  // With its hash right, so that the content is judged.
  const finish = (bytes: Buffer): Buffer => {
    const body = bytes.subarray(0, -20);
    return Buffer.concat([body, createHash('sha1').update(body).digest()]);
  };
  let read = 0;
  await fuzz(t, mutants([buildReach(pack)!], { finish }), { runs: 1500 }, ({ bytes }) => {
    const bitmaps = unlessRefused(() => new ReachBitmaps(bytes, 'sha1', pack.checksum, count));
    if (bitmaps === null) return;
    read++;
    for (const position of bitmaps.commits) {
      const set = new BitSet(count);
      assert.equal(bitmaps.addReached(set, position), true);
      if ((count & 31) !== 0) assert.equal(set.words.at(-1)! >>> (count & 31), 0, 'no member at the bound or above');
    }
    unlessRefused(() => checkReach(pack, bitmaps));
  });
  assert.ok(read > 0, 'some were readable');
});

test('a directory of bitmaps to which something was done is refused, or names a part inside its file', async (t) => {
  const parts = [0, 2 ** 33, 5000].map((extentOffset) => ({ extentOffset, bytes: Buffer.alloc(300, 'part') }));
  await fuzz(t, mutants([encodeReachSidecar(parts), encodeReachSidecar([])]), { runs: 1500 }, ({ bytes }) => {
    for (const held of [bytes.length, 20, 60]) {
      const head = bytes.subarray(0, held);
      const found = unlessRefused(() => findReachPart(head, bytes.length, 5000) ?? 'none');
      if (typeof found === 'number') assert.ok(found > head.length && found <= bytes.length);
      else if (found !== null && found !== 'none') assert.ok(found.offset + found.lengthBytes <= bytes.length);
    }
  });
});
