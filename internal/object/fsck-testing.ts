/**
 * For the tests that stand the object checks beside real git: the same objects in a repository, `git fsck --strict` on one side,
 * `ObjectChecker` on the other.
 *
 * Where the two may differ, and why:
 * - git reads a commit, tag or tree before it checks it, and says no more than "could not be parsed" of one it cannot read. Such an
 *   object must have an error of ours, whichever id it has.
 * - Dates: newer gits than the one here refuse signs, and white space other than blanks, before a date (`badDate`). So do we.
 * - The git here reads a .gitmodules in memory as signed bytes: it takes ff for the end, and does not know a byte order mark, so all after them
 *   goes unchecked. Its clients read the file otherwise. We check what clients act on; such texts are in fsck.test.ts.
 * - git does not decode some parts of an http url before it looks for line feeds (what stands before a colon). We look everywhere.
 * - A .gitmodules is too large for us at 4 MiB, for git at half a GiB (`gitmodulesLarge`).
 * - Of the last entry before one that it cannot read (`badTree`) git looks at neither mode nor order. What else is said of such a tree may differ.
 * - `largePathname` is younger than some gits that these tests meet.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { deflateSync } from 'node:zlib';
import {
  type FoundObject,
  finishChecks,
  kindNumber,
  ObjectChecker,
  type ObjectFormat,
  type ObjectKind,
  type ObjectProblem,
  STRICT_SEVERITIES,
} from './mod.ts';

const folder = mkdtempSync(join(tmpdir(), 'packhouse-fsck-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const ENV = { ...process.env, LC_ALL: 'C', HOME: folder, GIT_CONFIG_NOSYSTEM: '1', GIT_CEILING_DIRECTORIES: folder };
/** Another seed gives other damages: PACKHOUSE_TEST_SEED=7. */
export const SEED = Number(process.env.PACKHOUSE_TEST_SEED ?? 20);

export interface Sample {
  readonly kind: ObjectKind;
  readonly data: Buffer;
}

let repositories = 0;

/** A fresh repository that holds these objects loose, and their oids. */
export function repositoryOf(samples: readonly Sample[], format: ObjectFormat): { path: string; oids: string[] } {
  const path = join(folder, String(repositories++));
  execFileSync('git', ['init', '-q', '--bare', `--object-format=${format}`, path], { env: ENV });
  const oids = samples.map(({ kind, data }) => {
    const object = Buffer.concat([Buffer.from(`${kind} ${data.length}\0`), data]);
    const oid = createHash(format).update(object).digest('hex');
    mkdirSync(join(path, 'objects', oid.slice(0, 2)), { recursive: true });
    writeFileSync(join(path, 'objects', oid.slice(0, 2), oid.slice(2)), deflateSync(object, { level: 1 }));
    return oid;
  });
  return { path, oids };
}

interface Verdicts {
  /** For each oid: `error badDate`, `warning badTagName` … */
  readonly byOid: ReadonlyMap<string, ReadonlySet<string>>;
  readonly unreadable: ReadonlySet<string>;
  readonly status: number | null;
}

export function gitVerdicts(path: string): Verdicts {
  const run = spawnSync('git', ['fsck', '--strict', '--no-dangling', '--no-progress'], {
    cwd: path,
    env: ENV,
    maxBuffer: 1 << 28,
  });
  const text = `${run.stderr.toString('latin1')}\n${run.stdout.toString('latin1')}`;
  const byOid = new Map<string, Set<string>>();
  const unreadable = new Set<string>();
  for (const line of text.split('\n')) {
    const told = /^(error|warning) in \w+ ([0-9a-f]{40,64}): (\w+): /.exec(line);
    if (told !== null) byOid.set(told[2]!, (byOid.get(told[2]!) ?? new Set()).add(`${told[1]} ${told[3]}`));
    const unread = /^error: ([0-9a-f]{40,64}): object could not be parsed/.exec(line);
    if (unread !== null) unreadable.add(unread[1]!);
  }
  return { byOid, unreadable, status: run.status };
}

function words(problems: readonly ObjectProblem[]): string[] {
  return problems.map(({ id, severity }) => `${severity === 'error' ? 'error' : 'warning'} ${id}`);
}

export async function ourVerdicts(
  samples: readonly Sample[],
  oids: readonly string[],
  format: ObjectFormat,
): Promise<Map<string, Set<string>>> {
  const checker = new ObjectChecker(format, STRICT_SEVERITIES);
  const byOid = new Map<string, Set<string>>();
  const add = (oid: string, problems: readonly ObjectProblem[]): void => {
    if (problems.length > 0) byOid.set(oid, new Set([...(byOid.get(oid) ?? []), ...words(problems)]));
  };
  const objects = new Map<string, FoundObject>();
  samples.forEach(({ kind, data }, i) => {
    objects.set(oids[i]!, { kind: kindNumber(kind), data });
    add(oids[i]!, checker.check(kindNumber(kind), data));
  });
  for await (const { oid, problems } of finishChecks(checker, async (oid) => objects.get(oid.toString('hex')))) {
    add(oid.toString('hex'), problems);
  }
  return byOid;
}

/** Asserts that git and we say the same of each object; what we say, by oid. */
export async function assertSameVerdicts(samples: readonly Sample[], format: ObjectFormat): Promise<Map<string, Set<string>>> {
  const { path, oids } = repositoryOf(samples, format);
  const git = gitVerdicts(path);
  const ours = await ourVerdicts(samples, oids, format);
  assert.ok(git.status !== null && git.status < 128, 'git fsck went through all objects');
  const all = new Set([...oids, ...git.byOid.keys(), ...ours.keys()]);
  for (const oid of all) {
    const at = oids.indexOf(oid);
    const what = at < 0 ? oid : `${samples[at]!.kind} ${JSON.stringify(samples[at]!.data.toString('latin1'))}`;
    const mine = [...(ours.get(oid) ?? [])].filter((word) => !word.endsWith('largePathname')).sort();
    const isRefused = mine.some((word) => word.startsWith('error'));
    // Others may have named an oid of its links as of another kind, and git takes an oid for one kind: alone it is readable then.
    const theirs =
      git.unreadable.has(oid) && !isRefused && at >= 0 ? gitVerdicts(repositoryOf([samples[at]!], format).path) : git;
    if (theirs.unreadable.has(oid)) assert.ok(isRefused, `git cannot read, we accept: ${what}`);
    else if (!mine.includes('error badTree') || !theirs.byOid.get(oid)?.has('error badTree'))
      assert.deepEqual(mine, [...(theirs.byOid.get(oid) ?? [])].sort(), what);
  }
  return ours;
}

/** The dates that newer gits and we refuse: see the head of this file. */
export function hasOddDate({ data }: Sample): boolean {
  return /> [\t\n\v\f\r ]*(?:[+-]|[\n\v\f\r]|[\t ]+0)/.test(data.toString('latin1'));
}
