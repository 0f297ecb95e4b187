/**
 * Preloaded (`--import`) when fuzz targets are to be guided by coverage: modules of the product get a counter for each branch as they are
 * loaded. Threads of their own are not counted, nor are kernels.
 */
import { registerHooks, stripTypeScriptTypes } from 'node:module';
import { dirname } from 'node:path';
import { pathToFileURL } from 'node:url';
import { isMainThread } from 'node:worker_threads';
import type { BranchCounters } from './guided.ts';

/** More than all modules have; what is loaded after the last was given away is not counted. */
const COUNTERS_MAX = 1 << 17;

/** The folder whose modules are counted. */
const COVERED = process.env.PACKHOUSE_FUZZ_COVERED ?? dirname(import.meta.dirname);

function isCovered(url: string): boolean {
  const isOfTests = url.startsWith(new URL('./', import.meta.url).href) || /(\.test|-testing)\.ts$/.test(url);
  return url.startsWith(`${pathToFileURL(COVERED).href}/`) && url.endsWith('.ts') && !isOfTests;
}

if (isMainThread) {
  const { instrument } = await import('./instrument.ts');
  const branches: BranchCounters = { counters: new Uint8Array(COUNTERS_MAX), used: 0, literals: [] };
  globalThis.packhouseBranches = branches;
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context);
      if (!isCovered(url) || loaded.source === undefined) return loaded;
      const { code, count, literals } = instrument(stripTypeScriptTypes(String(loaded.source)), branches.used);
      if (branches.used + count > COUNTERS_MAX) return loaded;
      branches.used += count;
      branches.literals.push(...literals);
      return { format: 'module', source: code, shortCircuit: true };
    },
  });
}
