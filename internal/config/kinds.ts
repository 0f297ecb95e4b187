import { z } from 'zod';

/**
 * One configuration key: what a value must be, what it is when nobody sets it, and what people read about it.
 *
 * `default` is written as a person would write it in YAML ('60s', '64MiB', true), so that config.yaml can be held to it.
 * `suffix` is the unit that the parsed value carries in its TypeScript name.
 */
export interface KeyDefinition<T, Suffix extends string = ''> {
  readonly schema: z.ZodType<T>;
  readonly default: unknown;
  readonly description: string;
  readonly suffix: Suffix;
  /** How text from flags and the environment is read: as it stands, or as a YAML scalar or flow collection. */
  readonly text: 'plain' | 'yaml';
  /** How the value is hidden when it is printed: not at all, whole, or only the password of a URL. */
  readonly secret: 'no' | 'value' | 'url';
}

const DURATION_UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZE_UNITS_BYTES: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** Milliseconds of '500ms', '30s', '5m', '2h', '14d'; undefined when `value` is none of these. */
export function parseDurationMs(value: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(value);
  const duration = match ? Math.round(Number(match[1]) * (DURATION_UNITS_MS[match[2] as string] as number)) : Number.NaN;
  return Number.isSafeInteger(duration) ? duration : undefined;
}

/** Bytes of '512KiB', '1MiB', '1.5GiB', '100B' or a bare number of bytes; undefined when `value` is none of these. */
export function parseSizeBytes(value: string | number): number | undefined {
  const match = /^(\d+(?:\.\d+)?) ?(B|KiB|MiB|GiB|TiB|)$/.exec(String(value));
  const size = match ? Math.round(Number(match[1]) * (SIZE_UNITS_BYTES[match[2] as string] as number)) : Number.NaN;
  return Number.isSafeInteger(size) ? size : undefined;
}

/** A text value. */
export function text(byDefault: string, description: string, schema: z.ZodType<string> = z.string()): KeyDefinition<string> {
  return { schema, default: byDefault, description, suffix: '', text: 'plain', secret: 'no' };
}

/** A text value that must not be printed: `value` hides it whole, `url` hides the password in it. */
export function secret(
  kind: 'value' | 'url',
  description: string,
  schema: z.ZodType<string> = z.string(),
): KeyDefinition<string> {
  return { schema, default: '', description, suffix: '', text: 'plain', secret: kind };
}

/** One of a few words. */
export function choice<const T extends string>(
  options: readonly [T, ...T[]],
  byDefault: NoInfer<T>,
  description: string,
): KeyDefinition<T> {
  const schema = z.enum(options) as unknown as z.ZodType<T>;
  return { schema, default: byDefault, description, suffix: '', text: 'plain', secret: 'no' };
}

export function flag(byDefault: boolean, description: string): KeyDefinition<boolean> {
  return { schema: z.boolean(), default: byDefault, description, suffix: '', text: 'yaml', secret: 'no' };
}

/** A whole number of things, 1 at least. */
export function count(byDefault: number, description: string): KeyDefinition<number> {
  return { schema: z.int().min(1), default: byDefault, description, suffix: '', text: 'yaml', secret: 'no' };
}

/** A span of time, kept in milliseconds; `atLeast` and `atMost` are given as spans are. */
export function duration(
  byDefault: string,
  description: string,
  { atLeast = '0s', atMost = '36500d' }: { readonly atLeast?: string; readonly atMost?: string } = {},
): KeyDefinition<number, 'Ms'> {
  const schema = z.string("expected a duration such as '500ms', '30s', '5m', '2h' or '14d'").transform((value, context) => {
    const parsed = parseDurationMs(value);
    if (parsed !== undefined && parsed >= parseDurationMs(atLeast)! && parsed <= parseDurationMs(atMost)!) return parsed;
    const message =
      parsed === undefined
        ? `expected a duration such as '500ms', '30s', '5m', '2h' or '14d', not '${value}'`
        : `expected ${atLeast} at least and ${atMost} at most, not '${value}'`;
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  });
  return { schema, default: byDefault, description, suffix: 'Ms', text: 'plain', secret: 'no' };
}

/** A number of bytes. The key's own name ends in `bytes_max`, so no unit is added. */
export function size(byDefault: string, description: string, atLeast = '0'): KeyDefinition<number> {
  const expected = "expected a size such as 65536, '512KiB', '1MiB' or '4GiB'";
  const schema = z.union([z.string(), z.number()], expected).transform((value, context) => {
    const parsed = parseSizeBytes(value);
    if (parsed !== undefined && parsed >= parseSizeBytes(atLeast)!) return parsed;
    const bounded = parsed === undefined ? expected : `expected ${atLeast} at least`;
    context.addIssue({ code: 'custom', message: `${bounded}, not '${value}'` });
    return z.NEVER;
  });
  return { schema, default: byDefault, description, suffix: '', text: 'plain', secret: 'no' };
}

/** A map from known names to words. What a user gives is laid over the default, name by name. */
export function wordMap<const T extends string>(
  names: ReadonlySet<string>,
  words: readonly [T, ...T[]],
  byDefault: Readonly<Record<string, NoInfer<T>>>,
  description: string,
): KeyDefinition<Readonly<Record<string, T>>> {
  const schema = z.record(z.string(), z.enum(words)).transform((value, context) => {
    for (const name of Object.keys(value)) {
      if (!names.has(name)) context.addIssue({ code: 'custom', message: unknownName('name', name, names), path: [name] });
    }
    return { ...byDefault, ...value };
  });
  const typed = schema as unknown as z.ZodType<Readonly<Record<string, T>>>;
  return { schema: typed, default: byDefault, description, suffix: '', text: 'yaml', secret: 'no' };
}

/** "unknown <what> 'x'", with the nearest known name when one is near enough to be what was meant. */
export function unknownName(what: string, name: string, known: Iterable<string>): string {
  let nearest: string | undefined;
  let nearestDistance = Math.max(2, Math.ceil(name.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < nearestDistance) {
      nearest = candidate;
      nearestDistance = distance;
    }
  }
  return `unknown ${what} '${name}'${nearest === undefined ? '' : `; did you mean '${nearest}'?`}`;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substitution, (previous[j] as number) + 1, (row[j - 1] as number) + 1));
    }
    previous = row;
  }
  return previous[b.length] as number;
}
