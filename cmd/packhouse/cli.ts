import { existsSync } from 'node:fs';
import { styleText } from 'node:util';
import { type Command, InvalidArgumentError } from 'commander';
import { codeOf, createLogger, type Logger, PackhouseError } from '../../internal/base/mod.ts';
import { type Catalog, openCatalog } from '../../internal/catalog/mod.ts';
import {
  CONFIG_KEYS,
  type Config,
  type ConfigKey,
  flagName,
  KEYS,
  type LoadedConfig,
  loadConfig,
} from '../../internal/config/mod.ts';
import { type EmbeddedPostgres, findRunningEmbedded, startEmbeddedPostgres } from '../../internal/embedded/mod.ts';
import { migrate } from '../../internal/migrations/mod.ts';

/** The file that is read when no --config is given and the working folder has it. */
const CONFIG_FILE = 'config.yaml';
const COMMON_KEYS: readonly ConfigKey[] = ['data.dir', 'database.url', 'log.level'];

/** Keys that verbs take as flags which work on catalog and store. */
export const STORE_KEYS: readonly ConfigKey[] = [
  'data.dir',
  'database.url',
  'store.kind',
  'store.s3.endpoint',
  'store.s3.region',
  'store.s3.bucket',
  'store.s3.path_style',
  'log.level',
];

/** Adds --config and a flag for each of `keys`. */
export function addConfigOptions(command: Command, keys: readonly ConfigKey[] = COMMON_KEYS): Command {
  command.option('--config <file>', `configuration file (default: $PACKHOUSE_CONFIG, else ./${CONFIG_FILE} where there is one)`);
  for (const key of keys) command.option(`${flagName(key)} <value>`, `${key}: ${KEYS[key].description}`);
  return command;
}

/** The configuration that a command's options, the environment and the file make. Throws ConfigError. */
export function loadCommandConfig(command: Command): LoadedConfig {
  const options = command.opts() as Record<string, string | undefined>;
  const flags: Record<string, string | undefined> = {};
  for (const key of CONFIG_KEYS) {
    const option = command.options.find((candidate) => candidate.long === flagName(key));
    if (option) flags[key] = options[option.attributeName()];
  }
  const path = options.config ?? process.env.PACKHOUSE_CONFIG ?? (existsSync(CONFIG_FILE) ? CONFIG_FILE : undefined);
  return loadConfig({ path, env: process.env, flags });
}

/** The prefixes of `refs.hidden`, and Packhouse's own refs, which keep the objects of the store API. */
export function hiddenRefsOf(config: Config): string[] {
  return ['refs/packhouse', ...config.refs.hidden.split(/\s+/).filter((prefix) => prefix !== '')];
}

/** The log of a verb that ends by itself: what goes wrong, and more only when asked for. */
export function verbLog(config: Config): Logger {
  return createLogger(config.log.level === 'info' ? 'warn' : config.log.level);
}

/** The database in force: the one of database.url, or the embedded one, joined or started; `stop` ends our use of it. */
export async function startDatabase(config: Config, log: Logger = verbLog(config)): Promise<EmbeddedPostgres> {
  if (config.database.url !== '') return { url: config.database.url, stop: () => Promise.resolve() };
  return startEmbeddedPostgres({ dataDir: config.data.dir, log });
}

/**
 * Runs `work` with the URL of the database in force. The embedded PostgreSQL is joined when a server runs, else started for as long
 * as `work` takes, at the newest schema.
 */
export async function withDatabase<T>(config: Config, work: (url: string) => Promise<T>): Promise<T> {
  const migrates = config.database.url === '' && findRunningEmbedded(config.data.dir) === null;
  const database = await startDatabase(config);
  try {
    if (migrates) await migrate(database.url);
    return await work(database.url);
  } finally {
    await database.stop();
  }
}

/** Runs `work` with the catalog of a command's configuration. */
export async function withCatalog<T>(command: Command, work: (catalog: Catalog) => Promise<T>): Promise<T> {
  const { config } = loadCommandConfig(command);
  return withDatabase(config, async (url) => {
    const catalog = openCatalog({ url, poolMax: 2, statementTimeoutMs: config.database.statementTimeoutMs });
    try {
      return await work(catalog);
    } finally {
      await catalog.close();
    }
  });
}

/** Prints one value: as JSON, or as text. */
export function print(json: boolean, value: unknown, text: string): void {
  process.stdout.write(`${json ? JSON.stringify(value, null, 2) : text}\n`);
}

/** Rows as aligned columns under a header; the header is bold on a terminal unless NO_COLOR says otherwise. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, i) => Math.max(title.length, ...rows.map((row) => (row[i] ?? '').length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  return [styleText('bold', line(header), { stream: process.stdout }), ...rows.map(line)].join('\n');
}

/** `owner/name`, with or without `.git`: the names that the server's URLs can carry. */
export function parseRepository(text: string): { readonly owner: string; readonly name: string } {
  const [owner = '', rest = '', ...more] = text.split('/');
  const name = rest.replace(/\.git$/, '');
  const part = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$/;
  if (more.length > 0 || !part.test(owner) || !part.test(name) || name.endsWith('.git')) {
    throw new InvalidArgumentError('expected owner/name of letters, digits and ._-');
  }
  return { owner, name };
}

/** What a person can do about an error, where the error itself does not say. */
export function hintFor(error: unknown): string | undefined {
  if (codeOf(error) === '42P01') return 'the database has no Packhouse schema: run `packhouse migrate`';
  if (codeOf(error) === 'ECONNREFUSED') return 'is PostgreSQL running at database.url?';
  return undefined;
}

/** 2 for what the caller wrote wrong, 1 for everything else. */
export function exitCodeOf(error: unknown): number {
  return error instanceof PackhouseError && error.code === 'config-invalid' ? 2 : 1;
}
