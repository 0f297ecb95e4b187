/**
 * The one base class of every error that Packhouse throws on purpose.
 *
 * `code` is a literal that callers may branch on; `data` holds the limit, the offset, the oid or the value that the message
 * names. Rooms subclass it or throw it with a code of their own; only the HTTP room turns codes into status codes.
 */
export class PackhouseError extends Error {
  readonly code: string;
  readonly data: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, data: Readonly<Record<string, unknown>> = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = 'PackhouseError';
    this.code = code;
    this.data = data;
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a PackhouseError or of a Node system error, else undefined. */
export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** An invariant of ours, kept in production: a failure is a bug, never bad input. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new PackhouseError('assertion', `invariant broken: ${message}`);
}
