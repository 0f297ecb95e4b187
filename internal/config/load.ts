import { isIP } from 'node:net';
import type { z } from 'zod';
import { ConfigError } from './errors.ts';
import { CONFIG_KEYS, type Config, type ConfigKey, KEYS } from './keys.ts';
import { type GivenValue, type GivenValues, readEnvironment, readFlags, readYamlFile, type ValueSource } from './sources.ts';

export interface LoadOptions {
  /** The YAML file; none is read when it is left out. */
  readonly path?: string | undefined;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** By dotted key, as text: `{'http.listen': '127.0.0.1:9000'}`. */
  readonly flags?: Readonly<Record<string, string | undefined>>;
}

export interface LoadedConfig {
  readonly config: Config;
  /** Where each effective value comes from. */
  readonly sources: Readonly<Record<ConfigKey, ValueSource>>;
  /** Each effective value as it was written (`'60s'`; maps with their defaults), secrets included. Print through `effectiveValues`. */
  readonly given: Readonly<Record<ConfigKey, unknown>>;
}

/**
 * The effective configuration: flags over environment over YAML file over defaults, each value validated where it was written.
 * Throws ConfigError.
 */
export function loadConfig(options: LoadOptions = {}): LoadedConfig {
  const layers: GivenValues[] = [
    readFlags(options.flags ?? {}),
    readEnvironment(options.env ?? {}),
    options.path === undefined ? new Map() : readYamlFile(options.path),
  ];
  const tree: Record<string, unknown> = {};
  const sources: Partial<Record<ConfigKey, ValueSource>> = {};
  const given: Partial<Record<ConfigKey, unknown>> = {};
  for (const key of CONFIG_KEYS) {
    // Every layer is validated, so that a broken value does not wait for the day its override goes away.
    const values = layers
      .flatMap((layer) => layer.get(key) ?? [])
      .map((written) => ({ ...written, parsed: validate(key, written) }));
    const byDefault: GivenValue = { value: KEYS[key].default, source: { kind: 'default', where: 'default' } };
    const chosen = values[0] ?? { ...byDefault, parsed: validate(key, byDefault) };
    sources[key] = chosen.source;
    given[key] = typeof chosen.value === 'object' ? chosen.parsed : chosen.value;
    place(tree, key, chosen.parsed);
  }
  const loaded = { config: freeze(tree) as Config, sources, given } as LoadedConfig;
  validateTogether(loaded, options.env ?? {});
  return loaded;
}

/** Whether a `host:port` listens on loopback only. A name other than localhost might resolve to anything. */
export function isLoopbackListen(listen: string): boolean {
  const host = listen
    .slice(0, listen.lastIndexOf(':'))
    .replace(/^\[|\]$/g, '')
    .toLowerCase();
  if (host === 'localhost' || host === '::1') return true;
  return isIP(host) === 4 && host.startsWith('127.');
}

function validate(key: ConfigKey, written: GivenValue): unknown {
  const result = (KEYS[key].schema as z.ZodType<unknown>).safeParse(written.value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = [key, ...(issue?.path ?? [])].join('.');
  throw new ConfigError(written.source.where, `${path}: ${issue?.message ?? 'not valid'}`, { key });
}

/** Rules between keys. */
function validateTogether({ config, sources }: LoadedConfig, env: NonNullable<LoadOptions['env']>): void {
  if (config.auth.mode === 'none' && !isLoopbackListen(config.http.listen)) {
    throw new ConfigError(
      sources['http.listen'].where,
      `http.listen: refusing to listen on ${config.http.listen} without authentication: set auth.mode to 'token' or listen on 127.0.0.1`,
      { key: 'http.listen' },
    );
  }
  // They kill the process that asks for it: of no use but in tests, which serve themselves on loopback.
  if ((env.PACKHOUSE_FAILPOINTS ?? '') !== '' && (config.auth.mode !== 'none' || !isLoopbackListen(config.http.listen))) {
    const message = "failpoints are for tests: refused with auth.mode 'token' and beyond loopback";
    throw new ConfigError('PACKHOUSE_FAILPOINTS', message, {});
  }
  const { packfileUris, packfileUrisLifeMs, maxDurationMs } = config.fetch;
  if (packfileUris && config.store.kind !== 's3') {
    throw new ConfigError(sources['fetch.packfile_uris'].where, "fetch.packfile_uris: needs store.kind 's3'", {
      key: 'fetch.packfile_uris',
    });
  }
  if (packfileUris && (packfileUrisLifeMs < 1000 || packfileUrisLifeMs > maxDurationMs)) {
    throw new ConfigError(
      sources['fetch.packfile_uris_life'].where,
      'fetch.packfile_uris_life: expected a second at least and fetch.max_duration at most: what is replaced is deleted after that',
      { key: 'fetch.packfile_uris_life' },
    );
  }
  const { s3 } = config.store;
  if (config.store.kind === 's3' && s3.endpoint === '') {
    throw new ConfigError(sources['store.kind'].where, "store.s3.endpoint: must be set when store.kind is 's3'", {
      key: 'store.s3.endpoint',
    });
  }
  if ((s3.accessKeyId === '') !== (s3.secretAccessKey === '')) {
    const missing = s3.accessKeyId === '' ? 'store.s3.access_key_id' : 'store.s3.secret_access_key';
    const present = s3.accessKeyId === '' ? 'store.s3.secret_access_key' : 'store.s3.access_key_id';
    throw new ConfigError(sources[present].where, `${missing}: must be set together with ${present}`, { key: missing });
  }
}

function place(tree: Record<string, unknown>, key: ConfigKey, value: unknown): void {
  const parts = `${key}${KEYS[key].suffix}`.split('.').map(camelCase);
  let node = tree;
  for (const part of parts.slice(0, -1)) {
    node[part] ??= {};
    node = node[part] as Record<string, unknown>;
  }
  node[parts.at(-1) as string] = value;
}

function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function freeze(value: unknown): unknown {
  if (value !== null && typeof value === 'object') {
    for (const inner of Object.values(value)) freeze(inner);
    Object.freeze(value);
  }
  return value;
}
