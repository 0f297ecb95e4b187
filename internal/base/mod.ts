/**
 * base: what every room may lean on: the error class, assertions, logs.
 * Imports no other room.
 */
export { assert, codeOf, messageOf, PackhouseError } from './errors.ts';
export { createLogger, type Logger, type LogLevel } from './log.ts';
