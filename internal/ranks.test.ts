/**
 * The architecture, held by a test: which room may import which, and how long a file may be.
 *
 * A room is a folder with a door, `mod.ts`. It imports rooms of lower rank only, and only through their doors, so the rooms
 * form a stack that can be read from the bottom up. The table below is that stack.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix, relative, sep } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const SCANNED = ['cmd', 'internal', 'db', 'devenv', 'bench'];
const LINES_MAX = 400;

/** Tools for tests: imports any door, and only tests (and itself) import it. */
const TESTKIT = 'internal/testkit';
/** Only the catalog speaks SQL; access tokens keep a table of their own. */
const SOLE_IMPORTERS: Readonly<Record<string, readonly string[]>> = { 'db/queries': ['internal/catalog', 'internal/auth'] };
/** One file per family of tables, all for the one importer: no door. */
const WITHOUT_DOOR: ReadonlySet<string> = new Set(['db/queries', 'cmd/packhouse', 'bench', 'devenv']);

const RANKS: Readonly<Record<string, number>> = {
  'internal/base': 0,
  'internal/object': 1,
  'internal/pktline': 1,
  'internal/sha1dc': 1,
  'internal/packformat': 2,
  'internal/chunking': 2,
  'internal/config': 2,
  'internal/embedded': 2,
  'internal/protocol': 2,
  'internal/bitmap': 2,
  'db/queries': 2,
  'internal/packstore': 3,
  'internal/catalog': 3,
  'internal/migrations': 3,
  'internal/auth': 4,
  'internal/packing': 4,
  'internal/packread': 4,
  'internal/ingest': 5,
  'internal/reach': 5,
  'internal/repack': 6,
  'internal/push': 7,
  'internal/fetch': 7,
  'internal/maintenance': 7,
  'internal/recovery': 7,
  'internal/objectstore': 7,
  'internal/http': 8,
  'cmd/packhouse': 9,
  [TESTKIT]: 10,
  bench: 10,
  devenv: 10,
};

interface Source {
  /** From the repository's root, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

/** The room a path lies in; undefined for a file that stands in none. Sub-folders belong to their room. */
function roomOf(path: string): string | undefined {
  const parts = path.split('/');
  for (let length = parts.length - 1; length > 0; length--) {
    const folder = parts.slice(0, length).join('/');
    if (folder in RANKS) return folder;
  }
  return undefined;
}

const IMPORT_STATEMENT = /^(?:import|export)\b(?:[^;'"`]*?\bfrom)?\s*['"]([^'"]+)['"]/gm;
const IMPORT_CALL = /\bimport\s*\(\s*(['"])([^'"]+)\1/g;
const MODULE_URL = /\bnew URL\(\s*(['"])([^'"]+\.ts)\1\s*,\s*import\.meta\.url/g;
const IMPORT_LINE = /^import\b(?!\s*[(.])/gm;

function withoutComments(text: string): string {
  return text.replace(/^\s*\/\*[\s\S]*?\*\//gm, '').replace(/^\s*\/\/.*$/gm, '');
}

/** Every module a file names: statements, re-exports, `import()` (types too) and files given to workers by URL. */
function importsOf(source: Source): string[] {
  const text = withoutComments(source.text);
  const statements = [...text.matchAll(IMPORT_STATEMENT)];
  const found = statements.filter((match) => match[0].startsWith('import')).length;
  const expected = [...text.matchAll(IMPORT_LINE)].length;
  assert.equal(found, expected, `${source.path}: ${expected} import statements, but ${found} were understood`);
  const calls = [...text.matchAll(IMPORT_CALL), ...text.matchAll(MODULE_URL)];
  return [...statements.map((match) => match[1] ?? ''), ...calls.map((match) => match[2] ?? '')];
}

/** What is wrong with one import, or undefined. */
function complaint(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined;
  const target = posix.normalize(posix.join(posix.dirname(from), specifier));
  const room = roomOf(from);
  const other = roomOf(target);
  if (room === other) return undefined;
  const says = `${from} imports ${target}`;
  if (other === undefined) return `${says}, which stands in no room`;
  // `x-testing.ts` stands beside tests and helps them.
  const isTest = /(\.test|-testing)\.ts$/.test(from);
  if (!target.endsWith('/mod.ts') && !WITHOUT_DOOR.has(other)) return `${says}: other rooms are entered through ${other}/mod.ts`;
  if (room === undefined) return isTest ? undefined : `${from} stands in no room`;
  if (other === TESTKIT) return isTest ? undefined : `${says}, which is for tests only`;
  const sole = SOLE_IMPORTERS[other];
  if (sole !== undefined && !sole.includes(room)) return `${says}, which only ${sole.join(' and ')} may`;
  const [rank, otherRank] = [RANKS[room] ?? -1, RANKS[other] ?? -1];
  if (otherRank >= rank) return `${says}: rank ${rank} may not import rank ${otherRank}`;
  return undefined;
}

function complaintsIn(sources: readonly Source[]): string[] {
  return sources.flatMap((source) => importsOf(source).flatMap((specifier) => complaint(source.path, specifier) ?? []));
}

function typescriptFiles(): Source[] {
  return SCANNED.flatMap((top) =>
    readdirSync(join(ROOT, top), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
      .map((entry) => join(entry.parentPath, entry.name))
      .map((file) => ({ path: relative(ROOT, file).split(sep).join('/'), text: readFileSync(file, 'utf8') })),
  );
}

function roomFolders(): string[] {
  const under = (parent: string) =>
    readdirSync(join(ROOT, parent), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => `${parent}/${entry.name}`);
  return [...under('cmd'), ...under('internal'), ...under('db').filter((folder) => folder !== 'db/migrations')];
}

describe('the repository', () => {
  const sources = typescriptFiles();

  test('is scanned whole', (t) => {
    const rooms = new Set(sources.map((source) => roomOf(source.path)));
    const imports = sources.flatMap(importsOf).length;
    t.diagnostic(`${sources.length} files, ${rooms.size} rooms, ${imports} imports`);
    assert.ok(sources.length > 10, `only ${sources.length} files found under ${ROOT}`);
    assert.ok(imports > sources.length / 2, `only ${imports} imports found in ${sources.length} files`);
    for (const source of sources) {
      assert.ok(roomOf(source.path) !== undefined || source.path.endsWith('.test.ts'), `${source.path} stands in no room`);
    }
  });

  test('has a rank for every room', () => {
    for (const folder of roomFolders()) assert.ok(folder in RANKS, `${folder} has no rank: add it to the table of this test`);
  });

  test('has a door in every room that others may enter', () => {
    const doors = new Set(sources.map((source) => source.path));
    const rooms = new Set(sources.flatMap((source) => roomOf(source.path) ?? []));
    for (const room of rooms) {
      if (!WITHOUT_DOOR.has(room)) assert.ok(doors.has(`${room}/mod.ts`), `${room} has no mod.ts`);
    }
  });

  test('imports downwards only, and through doors', () => {
    assert.deepEqual(complaintsIn(sources), []);
  });

  test(`has no file of more than ${LINES_MAX} lines`, () => {
    const lines = (source: Source) => source.text.split('\n').length - 1;
    const long = sources.filter(
      (source) => lines(source) > LINES_MAX && !source.text.startsWith('/**\n * This file was generated'),
    );
    assert.deepEqual(
      long.map((source) => `${source.path}: ${lines(source)} lines`),
      [],
    );
  });
});

describe('the rank check', () => {
  const check = (path: string, text: string) => complaintsIn([{ path, text }]);

  const allowed: readonly (readonly [path: string, text: string])[] = [
    ['internal/push/receive.ts', "import { a } from '../object/mod.ts';"],
    ['internal/push/receive.ts', "import {\n  a,\n  type B,\n} from './plan.ts';"],
    [
      'internal/push/receive.ts',
      "import { join } from 'node:path';\nexport const url = new URL('../../db/x.sql', import.meta.url);",
    ],
    ['internal/push/receive.test.ts', "import { git } from '../testkit/mod.ts';"],
    ['internal/testkit/server.ts', "import { serve } from '../http/mod.ts';"],
    ['internal/catalog/refs.ts', "import type { Q } from '../../db/queries/refs.ts';"],
    ['internal/push/receive.ts', "/**\n * import { a } from '../http/mod.ts';\n */\n// import('../http/mod.ts')\n"],
  ];
  for (const [path, text] of allowed) {
    test(`allows in ${path}: ${text.replaceAll('\n', ' ')}`, () => assert.deepEqual(check(path, text), []));
  }

  const refused: readonly (readonly [path: string, text: string, why: RegExp])[] = [
    ['internal/object/oid.ts', "import { a } from '../push/mod.ts';", /rank 1 may not import rank 7/],
    ['internal/push/plan.ts', "import type { A } from '../fetch/mod.ts';", /rank 7 may not import rank 7/],
    ['internal/push/plan.ts', "import {\n  a,\n} from '../object/oid.ts';", /entered through internal\/object\/mod\.ts/],
    ['internal/push/plan.ts', "export * from '../http/mod.ts';", /rank 8/],
    ['internal/push/plan.ts', "import '../http/mod.ts';", /rank 8/],
    ['internal/push/plan.ts', "const a = await import('../http/mod.ts');", /rank 8/],
    ['internal/push/plan.ts', "type A = import('../http/mod.ts').A;", /rank 8/],
    ['internal/push/plan.ts', "new Worker(new URL('../http/worker.ts', import.meta.url));", /internal\/http\/mod\.ts/],
    ['internal/push/plan.ts', "import { git } from '../testkit/mod.ts';", /for tests only/],
    ['internal/push/plan.ts', "import { q } from '../../db/queries/refs.ts';", /only internal\/catalog and internal\/auth may/],
    ['internal/push/deep/plan.ts', "import { a } from '../../http/mod.ts';", /rank 8/],
    ['internal/push/plan.test.ts', "import { a } from '../http/mod.ts';", /rank 8/],
    ['internal/push/plan.ts', "import { a } from '../../other.ts';", /no room/],
  ];
  for (const [path, text, why] of refused) {
    test(`refuses in ${path}: ${text.replaceAll('\n', ' ')}`, () => {
      const [first, ...rest] = check(path, text);
      assert.match(first ?? 'nothing', why);
      assert.deepEqual(rest, []);
    });
  }

  test('stops at an import it does not understand', () => {
    assert.throws(() => importsOf({ path: 'x.ts', text: 'import fs = require("fs");' }), /were understood/);
  });
});
