import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { Sha1Batch } from '../sha1dc/mod.ts';
import { buildPack, commitBody, entry, oidOf, startTestDatabase, treeBody, ZERO_OID } from '../testkit/mod.ts';
import { PushBench } from './push-testing.ts';

const MAIN = 'refs/heads/main';
const SUSPECT = 'a blob that no attack has made\n';

/** Nobody has a collision of two git objects: this detector takes one blob for a part of one. */
function suspicious(this: Sha1Batch): number {
  for (let i = 0; i < this.count; i++) {
    const message = this.memory.subarray(this.start(i), this.end(i));
    if (hash('sha1', message) === oidOf('blob', SUSPECT)) return i;
  }
  return -1;
}

test('a push of an object of a collision attack is refused in the words of git, unless nobody looks out for it', async (context) => {
  const database = await startTestDatabase();
  const bench = new PushBench(database.url);
  await bench.client.connect();
  try {
    const tree = treeBody([['100644', 'a', oidOf('blob', SUSPECT)]]);
    const commit = commitBody(oidOf('tree', tree), []);
    const pack = buildPack([entry('commit', commit), entry('tree', tree), entry('blob', SUSPECT)]);
    const update = [ZERO_OID, oidOf('commit', commit), MAIN] as const;
    context.mock.method(Sha1Batch.prototype, 'run', suspicious);
    assert.deepEqual(await bench.push('o/r', [update], pack), [
      `unpack SHA-1 appears to be part of a collision attack: ${oidOf('blob', SUSPECT)}`,
      `ng ${MAIN} unpacker error`,
    ]);
    assert.deepEqual(await bench.push('o/r', [update], pack, { detectCollisions: false }), ['unpack ok', `ok ${MAIN}`]);
  } finally {
    await bench.close();
    await database.stop();
  }
});
