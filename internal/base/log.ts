import { createRequire } from 'node:module';
import type { Logger, pino } from 'pino';

export type { Logger };

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** Structured logs, one JSON object a line, on stderr. Credentials in headers never reach it: callers log chosen fields. */
export function createLogger(level: LogLevel): Logger {
  // Only where there is one to make: threads that log nothing start without it.
  const make = createRequire(import.meta.url)('pino') as typeof pino;
  return make({ level, base: null, timestamp: make.stdTimeFunctions.isoTime }, make.destination({ fd: 2, sync: true }));
}
