import { readFileSync } from 'node:fs';
import { type Document, isMap, LineCounter, type Node, type Pair, parseDocument } from 'yaml';
import { messageOf } from '../base/mod.ts';
import { ConfigError } from './errors.ts';
import { CONFIG_KEYS, type ConfigKey, KEYS } from './keys.ts';
import { unknownName } from './kinds.ts';

/** Where an effective value comes from; `where` is what a person looks for: 'config.yaml:12', 'PACKHOUSE_LOG_LEVEL', '--log-level'. */
export interface ValueSource {
  readonly kind: 'default' | 'file' | 'environment' | 'flag';
  readonly where: string;
}

/** A value as somebody wrote it, before validation. */
export interface GivenValue {
  readonly value: unknown;
  readonly source: ValueSource;
}

export type GivenValues = ReadonlyMap<ConfigKey, GivenValue>;

/** The environment variable of a key: `store.s3.path_style` is PACKHOUSE_STORE_S3_PATH_STYLE. */
export function environmentVariable(key: string): string {
  return `PACKHOUSE_${key.replaceAll('.', '_').toUpperCase()}`;
}

/** The flag of a key: `store.s3.path_style` is --store-s3-path-style. */
export function flagName(key: string): string {
  return `--${key.replaceAll(/[._]/g, '-')}`;
}

/** What a YAML file sets. Unknown keys, duplicate keys and syntax errors are refused with file and line. */
export function readYamlFile(path: string): GivenValues {
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError(path, `cannot read the configuration file: ${messageOf(error)}`, { path }, { cause: error });
  }
  const lines = new LineCounter();
  const document = parseDocument(content, { lineCounter: lines });
  const lineOf = (offset: number | undefined): string => `${path}:${lines.linePos(offset ?? 0).line}`;
  const problem = document.errors[0] ?? document.warnings[0];
  if (problem) throw new ConfigError(lineOf(problem.pos[0]), problem.message.split('\n')[0] ?? 'not YAML');

  const given = new Map<ConfigKey, GivenValue>();
  const visit = (node: Node | null, prefix: string): void => {
    if (!isMap(node)) {
      const expected = prefix === '' ? 'expected keys and values' : `${prefix}: expected keys and values below it`;
      throw new ConfigError(lineOf(node?.range?.[0]), expected);
    }
    for (const pair of node.items as Pair<Node, Node | null>[]) {
      const name = String(pair.key);
      const key = prefix === '' ? name : `${prefix}.${name}`;
      const where = lineOf(pair.key.range?.[0]);
      if (Object.hasOwn(KEYS, key)) {
        given.set(key as ConfigKey, { value: plainValue(pair.value, document, where, key), source: { kind: 'file', where } });
      } else if (CONFIG_KEYS.some((known) => known.startsWith(`${key}.`))) {
        // A section whose every key is commented out reads as null.
        if (isMap(pair.value) || plainValue(pair.value, document, where, key) !== null) visit(pair.value, key);
      } else {
        throw new ConfigError(where, unknownName('key', key, knownPaths()), { key });
      }
    }
  };
  if (document.contents !== null) visit(document.contents, '');
  return given;
}

/** @throws ConfigError for an alias of nothing, and for aliases of aliases that would grow without end */
function plainValue(node: Node | null, document: Document, where: string, key: string): unknown {
  try {
    return (node?.toJS(document) as unknown) ?? null;
  } catch (error) {
    throw new ConfigError(where, `${key}: ${messageOf(error).split('\n')[0]}`, { key }, { cause: error });
  }
}

/** What PACKHOUSE_* variables set; for secrets `<VARIABLE>_FILE` names a file to read the value from. */
export function readEnvironment(environment: Readonly<Record<string, string | undefined>>): GivenValues {
  const given = new Map<ConfigKey, GivenValue>();
  const known = new Map<string, { key: ConfigKey; file: boolean }>();
  for (const key of CONFIG_KEYS) {
    known.set(environmentVariable(key), { key, file: false });
    if (KEYS[key].secret !== 'no') known.set(`${environmentVariable(key)}_FILE`, { key, file: true });
  }
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined || !name.startsWith('PACKHOUSE_')) continue;
    const match = known.get(name);
    if (match === undefined) {
      if (sectionOfVariable(name)) throw new ConfigError('environment', unknownName('variable', name, known.keys()), { name });
      continue;
    }
    if (given.has(match.key)) throw new ConfigError(name, `is set both as it stands and as a _FILE`, { key: match.key });
    const text = match.file ? readSecretFile(name, value) : value;
    given.set(match.key, { value: readText(match.key, text, name), source: { kind: 'environment', where: name } });
  }
  return given;
}

/** What command line flags set, by dotted key: `{'http.listen': '127.0.0.1:9000'}`. */
export function readFlags(flags: Readonly<Record<string, string | undefined>>): GivenValues {
  const given = new Map<ConfigKey, GivenValue>();
  for (const [key, value] of Object.entries(flags)) {
    if (value === undefined) continue;
    const where = flagName(key);
    if (!Object.hasOwn(KEYS, key)) throw new ConfigError('flag', unknownName('key', key, CONFIG_KEYS), { key });
    given.set(key as ConfigKey, { value: readText(key as ConfigKey, value, where), source: { kind: 'flag', where } });
  }
  return given;
}

function readText(key: ConfigKey, text: string, where: string): unknown {
  if (KEYS[key].text === 'plain') return text;
  const document = parseDocument(text);
  const problem = document.errors[0] ?? document.warnings[0];
  if (problem) throw new ConfigError(where, `${key}: ${problem.message.split('\n')[0]}`, { key });
  return plainValue(document.contents, document, where, key);
}

function readSecretFile(variable: string, path: string): string {
  try {
    return readFileSync(path, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    throw new ConfigError(variable, `cannot read the secret: ${messageOf(error)}`, { path }, { cause: error });
  }
}

/** Whether a variable belongs to one of our sections, so that it must be a mistyped key and not somebody else's variable. */
function sectionOfVariable(name: string): boolean {
  return CONFIG_KEYS.some((key) => name.startsWith(`PACKHOUSE_${(key.split('.')[0] as string).toUpperCase()}_`));
}

function knownPaths(): Set<string> {
  return new Set(CONFIG_KEYS.flatMap((key) => key.split('.').map((_, i, parts) => parts.slice(0, i + 1).join('.'))));
}
