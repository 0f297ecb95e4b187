import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeTagRecord, KIND_BLOB, KIND_COMMIT, KIND_TAG } from '../object/mod.ts';
import { CommitGraph, type RepositoryView } from '../reach/mod.ts';
import { oidOf } from '../testkit/mod.ts';
import { PackTags, peelTips } from './peel.ts';

const oid = (i: number): Buffer => Buffer.from(oidOf('blob', `tag ${i}`), 'hex');
const hex = (i: number): string => oid(i).toString('hex');

test('a pushed chain of tags is followed once, however many refs name parts of it', async () => {
  const graph = new CommitGraph('sha1');
  const view = { pool: { graph } } as RepositoryView;
  const length = 20_000;
  graph.add(1, [encodeTagRecord(oid(-1), oid(-2), KIND_BLOB)]);
  const tags = new PackTags(
    [
      encodeTagRecord(oid(length), oid(length + 1), KIND_COMMIT),
      ...Array.from({ length }, (_, i) => encodeTagRecord(oid(i), oid(i - 1), KIND_TAG)),
    ],
    'sha1',
  );
  const target = tags.target.bind(tags);
  let looks = 0;
  tags.target = (name) => {
    looks++;
    return target(name);
  };
  const asked = Array.from({ length }, (_, i) => hex(length - 1 - i));
  const [single, stored, absent, zero, ...rest] = await peelTips(
    view,
    [hex(length), hex(-1), hex(-2), '0'.repeat(40), ...asked],
    tags,
  );
  assert.deepEqual([single, stored, absent, zero], [oid(length + 1), oid(-2), null, null]);
  for (const peeled of rest) assert.deepEqual(peeled, oid(-2));
  assert(looks < 3 * length, `${looks} looks at ${length} tags`);
});
