/**
 * Object names. In bulk an oid is `oidLength` raw bytes inside a slab; where a person or a protocol reads it, lower-case hex.
 */
export type ObjectFormat = 'sha1' | 'sha256';

/** Git's object kinds with the numbers that pack entries use (gitformat-pack, "Object types"). */
export type ObjectKind = 'commit' | 'tree' | 'blob' | 'tag';
export const KIND_COMMIT = 1;
export const KIND_TREE = 2;
export const KIND_BLOB = 3;
export const KIND_TAG = 4;

const KIND_NAMES = ['', 'commit', 'tree', 'blob', 'tag'] as const;
const KIND_NUMBERS: Readonly<Record<ObjectKind, number>> = { commit: 1, tree: 2, blob: 3, tag: 4 };

/** The name of a kind number 1 to 4. */
export function kindName(kind: number): ObjectKind {
  return KIND_NAMES[kind] as ObjectKind;
}

/** The number of a kind. */
export function kindNumber(kind: ObjectKind): number {
  return KIND_NUMBERS[kind];
}

/** Bytes of a raw oid: 20 or 32. */
export function oidLength(format: ObjectFormat): number {
  return format === 'sha1' ? 20 : 32;
}

/** The all-zero hex name that stands for "no object" in ref updates. */
export function zeroOid(format: ObjectFormat): string {
  return '0'.repeat(oidLength(format) * 2);
}
