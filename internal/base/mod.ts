/**
 * base: what every room may lean on: the error class, assertions, logs, the bound on the memory of large requests, kernels in WebAssembly,
 * the moments at which tests strike, memory for bytes that are kept,
 * threads that wait for more work, waits that end with a signal.
 * Imports no other room.
 */
export { assert, codeOf, messageOf, PackhouseError } from './errors.ts';
export { armFailpoints, disarmFailpoints, FAILPOINTS, type Failpoint, failpoint } from './failpoint.ts';
export { keepBytes } from './keep-bytes.ts';
export { createLogger, type Logger, type LogLevel } from './log.ts';
export { MemoryBudget, type MemoryClaim } from './memory-budget.ts';
export { orAborted } from './or-aborted.ts';
export { leaveWorker, SpareWorker, WORKER_LIMITS } from './spare-worker.ts';
export { growKernel, instantiateKernel } from './wasm.ts';
