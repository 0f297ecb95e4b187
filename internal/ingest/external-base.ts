/** An object outside the pack that deltas of a thin pack are based on. */
export interface ExternalBase {
  readonly oid: Buffer;
  readonly kind: number;
  readonly data: Buffer;
}

/** One that is too large to hold, in a file, whose name goes when it is taken. */
export interface LargeExternalBase {
  readonly oid: Buffer;
  readonly path: string;
  readonly sizeBytes: number;
}
