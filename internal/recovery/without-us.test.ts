import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { git, reachableObjects, refLines, scratchFolder } from '../testkit/mod.ts';
import { Farm } from './recovery-testing.ts';
import { writeSnapshot } from './snapshot.ts';

const ARCHITECTURE = new URL('../../ARCHITECTURE.md', import.meta.url);

function recipe(): string {
  const text = readFileSync(ARCHITECTURE, 'utf8');
  const section = text.slice(text.indexOf('\n## Recovery without us\n'));
  return /```python\n([\s\S]*?)\n```/.exec(section)![1]!;
}

describe('the recipe of ARCHITECTURE.md', () => {
  let farm: Farm;
  before(async () => {
    farm = await Farm.start();
  });
  after(async () => {
    await farm?.close();
  });

  test('gets refs, store packs, tails and large blobs out of a bucket with python and git', async () => {
    await farm.commit('o/a', 60_000);
    await farm.push('o/a');
    await farm.commit('o/a', 100);
    await farm.push('o/a');
    const a = await farm.source('o/a');
    await git(['branch', 'gone'], { cwd: a });
    await git(['tag', '-a', '-m', 'one', 'v1'], { cwd: a });
    await farm.push('o/a');
    await farm.commit('o/large', 2_000_000, 'large');
    await farm.push('o/large');
    await writeSnapshot(farm);
    await git(['branch', '-q', '-D', 'gone'], { cwd: a });
    await farm.push('o/a', ':refs/heads/gone');
    await farm.commit('o/a', 200);
    await farm.push('o/a');
    await farm.commit('o/large', 2_000_000, 'large');
    await farm.push('o/large');
    await farm.server.packhouse('seal', 'o/large', '--now');
    await writeSnapshot(farm);

    const script = join(scratchFolder('recipe'), 'recipe.py');
    writeFileSync(script, recipe());
    const out = scratchFolder('out');
    await promisify(execFile)('python3', [script, join(farm.server.dataDir, 'packs'), out], { maxBuffer: 16 << 20 });
    for (const name of ['o/a', 'o/large']) {
      const folder = join(out, `${name}.git`);
      await git(['fsck', '--full', '--strict'], { cwd: folder });
      assert.equal(await refLines(folder), await refLines(await farm.source(name)));
      assert.deepEqual(await reachableObjects(folder), await reachableObjects(await farm.source(name)));
    }
  });
});
