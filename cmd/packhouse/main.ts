#!/usr/bin/env node
/**
 * The executable: `program.ts`, with what was compiled kept in `.cache/compile` for the next start, which takes half the time then. Where that folder
 * cannot be written nothing is kept. Processes that this one starts do the same.
 */
import { enableCompileCache } from 'node:module';
import { fileURLToPath } from 'node:url';
import { startLean } from './lean-memory.ts';

// Before the process starts anew: with it from its start, a process need not load what strips types.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('../../.cache/compile', import.meta.url));
if (process.argv[2] === 'serve') startLean();
enableCompileCache(process.env.NODE_COMPILE_CACHE);
// Who reads our output may have read enough of it (`| head`).
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});
await import('./program.ts');
