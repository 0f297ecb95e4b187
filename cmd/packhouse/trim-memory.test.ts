import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

/** Allocates 200 MB in blocks of 100 kB, frees all but each tenth, and says how many bytes the process has less then: with `trims`, after memory was given back. */
function restOf200MB(trims: boolean): number {
  const program = `
    import { keepMemoryTrimmed } from '${import.meta.resolve('./trim-memory.ts')}';
    import { setTimeout } from 'node:timers/promises';
    let all = Array.from({ length: 2000 }, () => Buffer.allocUnsafeSlow(100_000).fill(1));
    const kept = all.filter((_, i) => i % 10 === 0);
    const full = process.memoryUsage.rss();
    all = null;
    for (let i = 0; i < 5; i++) { gc(); await setTimeout(20); }
    const alive = setInterval(() => {}, 1000);
    if (${trims}) {
      const said = await new Promise((say) => keepMemoryTrimmed({ debug: (_, text) => say(text), info: say }, { everyMs: 10, growthBytesMin: 32 << 20, cpuMicrosMin: 1e9 }));
      if (said !== 'memory given back') throw new Error(JSON.stringify(said));
    }
    clearInterval(alive);
    process.stdout.write(String(full - process.memoryUsage.rss()) + ' ' + kept.length);`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', '--input-type=module', '--eval', program], {
    env: { ...process.env, MALLOC_MMAP_THRESHOLD_: `${8 << 20}`, MALLOC_ARENA_MAX: '2' },
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.equal(status, 0, stderr);
  return Number(stdout.split(' ')[0]);
}

test('memory that was freed between blocks that stay is given back to the system', { skip: process.platform !== 'linux' }, () => {
  const without = restOf200MB(false);
  const freed = restOf200MB(true);
  assert.ok(without < 50e6, `${without} bytes went back by themselves: the test shows nothing`);
  assert.ok(freed > 120e6, `${freed} bytes of 180 MB were given back`);
});
