import { CONFIG_KEYS, type ConfigKey, KEYS } from './keys.ts';
import type { LoadedConfig } from './load.ts';

/** One line of `config print --effective`. */
export interface EffectiveValue {
  readonly key: ConfigKey;
  /** As it was written, secrets masked. */
  readonly value: unknown;
  readonly source: string;
  readonly description: string;
}

const MASK = '********';

/** Every key with its effective value and its source, secrets masked: safe to show and to log. */
export function effectiveValues(loaded: LoadedConfig): readonly EffectiveValue[] {
  return CONFIG_KEYS.map((key) => ({
    key,
    value: masked(key, loaded.given[key]),
    source: loaded.sources[key].where,
    description: KEYS[key].description,
  }));
}

/** A database URL without its password, wherever in the URL it stands. */
export function maskUrl(url: string): string {
  return url.replace(/^([a-z]+:\/\/[^:/?#]*):.*@/i, `$1:${MASK}@`).replace(/([?&](?:password|sslpassword)=)[^&]*/gi, `$1${MASK}`);
}

function masked(key: ConfigKey, value: unknown): unknown {
  const kind = KEYS[key].secret;
  if (kind === 'no' || value === '') return value;
  return kind === 'url' ? maskUrl(String(value)) : MASK;
}
