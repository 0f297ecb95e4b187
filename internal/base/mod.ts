/**
 * base: what every room may lean on: the error class, assertions, logs, and the bound on the memory of large requests.
 * Imports no other room.
 */
export { assert, codeOf, messageOf, PackhouseError } from './errors.ts';
export { createLogger, type Logger, type LogLevel } from './log.ts';
export { MemoryBudget, type MemoryClaim } from './memory-budget.ts';
