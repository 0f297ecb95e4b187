import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import {
  git,
  reachableObjects,
  refusalOf,
  scratchFolder,
  seededBytes,
  sendPush,
  startServer,
  type TestServer,
  ZERO_OID,
} from '../../../internal/testkit/mod.ts';
import { type Asked, type Asker, branch, type Made, PROBES, packOf } from './isolation-testing.ts';

/**
 * Who reaches what. All but `alone` share a pool. What refs named before is nobody's here (`fetch.serve_log_values`), so that the objects of a
 * deleted branch and of one that was forced away are foreign to the repository that had them, too.
 */
const base = branch('main', null);
// Names of one length, so that an answer about nobody's oid can be compared with several.
const own = {
  'victim/parent': branch('upriver', base.tip),
  'mallory/fork': branch('forking', base.tip),
  'eve/sibling': branch('sibling', base.tip, seededBytes(3, 900_000).toString('latin1')),
  'other/alone': branch('apart-1', null),
} as const;
const deleted = branch('deleted', base.tip);
const forced = branch('pressed', base.tip);
type Name = keyof typeof own;
const NAMES = Object.keys(own) as Name[];

/** One of each kind. */
function samples({ objects }: ReturnType<typeof branch>): Made[] {
  return [objects[4]!, objects[5]!, objects[7]!, objects[8]!];
}

function foreignTo(name: Name): Made[] {
  const others = NAMES.filter((other) => other !== name).map((other) => own[other]);
  return [...others, deleted, forced, ...(name === 'other/alone' ? [base] : [])].flatMap(samples);
}

/** What a repository's own log names is no secret of others: a deletion with such an old value is one that came too late. */
function isExcused(name: Name, what: string, object: Made): boolean {
  const had = name === 'victim/parent' ? deleted.objects : name === 'mallory/fork' ? forced.objects : [];
  return what === 'the old value of a deletion' && had.includes(object);
}

interface Compared {
  readonly pairs: number;
  readonly answers: number;
}

/** One of each manner of asking. */
const CHOSEN = Object.fromEntries(
  [
    'a want',
    'a have, done',
    'a shallow line',
    'a sparse filter',
    'object-info',
    'the value of a branch',
    'a delta base',
    'a file',
  ].map((what) => [what, PROBES[what]!]),
);

describe('an object that a repository does not reach', () => {
  let server: TestServer;
  const tokens = new Map<string, string>();

  function asker(name: Name, at = server.url): Asker {
    const token = tokens.get(name)!;
    const headers = { Authorization: `Basic ${Buffer.from(`any:${token}`).toString('base64')}` };
    return { url: `${at}/${name}.git`, headers, tip: own[name].tip };
  }

  async function cli(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await server.packhouse(...args);
    assert.equal(code, 0, stderr);
    return stdout.trim();
  }

  before(async () => {
    server = await startServer({
      store: 'fs',
      env: { PACKHOUSE_AUTH_MODE: 'token', PACKHOUSE_FETCH_SERVE_LOG_VALUES: 'false', PACKHOUSE_CHUNKING_THRESHOLD: '512KiB' },
    });
    for (const name of NAMES)
      tokens.set(name, await cli('token', 'create', name, '--scope', 'write', '--owner', name.split('/')[0]!));
    const push = async (name: Name, updates: Parameters<typeof sendPush>[1], objects: readonly Made[] | null): Promise<void> => {
      const { url, headers } = asker(name);
      const answer = await sendPush(url, updates, objects === null ? Buffer.alloc(0) : packOf(objects), { headers });
      assert.equal(refusalOf(answer), undefined);
    };
    await cli('repo', 'create', 'victim/parent', '--private');
    await push('victim/parent', base.updates, base.objects);
    for (const fork of ['mallory/fork', 'eve/sibling']) await cli('repo', 'fork', 'victim/parent', fork, '--public');
    for (const name of NAMES) await push(name, own[name].updates, own[name].objects);
    await push('victim/parent', deleted.updates, deleted.objects);
    await push(
      'victim/parent',
      deleted.updates.map(([, oid, ref]) => [oid, ZERO_OID, ref]),
      null,
    );
    await push('mallory/fork', forced.updates, forced.objects);
    const moved = forced.updates.map(([, oid, ref]) => [oid, ref.startsWith('refs/heads/') ? base.tip : ZERO_OID, ref] as const);
    await push('mallory/fork', moved, []);
    const rows = await server.query<{ pools: number; chunked: number }>(
      'select count(distinct pool_id)::int as pools, (select count(*)::int from chunked_blobs) as chunked from repositories',
    );
    assert.deepEqual(rows, [{ pools: 2, chunked: 2 }], 'the set-up is what it says');
  });
  after(() => server?.close());

  /** Asks about each object, and the same about an oid that nobody has; how many pairs were compared, by how many answers. */
  async function compare(who: Asker, name: Name, objects: readonly Made[], probes: typeof PROBES): Promise<Compared> {
    const nobodys = new Map<string, string>();
    let answers = 0;
    for (const object of objects) {
      const { kind, oid, data } = object;
      const asked: Asked = { kind, oid, length: data.length };
      for (const [what, probe] of Object.entries(probes)) {
        if (isExcused(name, what, object)) continue;
        const like = `${what} ${kind} ${data.length}`;
        const expected = nobodys.get(like) ?? (await probe(who, { ...asked, oid: randomBytes(20).toString('hex') }));
        nobodys.set(like, expected);
        const answer = await probe(who, asked);
        assert.ok(
          answer === expected,
          `${name} tells of the ${kind} ${oid} as ${what}:\n${shown(answer)}\nand of nothing:\n${shown(expected)}`,
        );
        answers++;
      }
    }
    return { pairs: objects.length, answers };
  }

  const shown = (text: string): string => JSON.stringify(text.slice(0, 1500));

  function told(compared: readonly Compared[]): string {
    const sum = (of: keyof Compared): number => compared.reduce((all, one) => all + one[of], 0);
    return `${sum('pairs')} pairs of a repository and an oid, ${sum('answers')} answers compared`;
  }

  async function compareAll(probes: typeof PROBES): Promise<string> {
    return told(await Promise.all(NAMES.map((name) => compare(asker(name), name, foreignTo(name), probes))));
  }

  test('is answered about as one that nobody has, however it is asked for', async (t) => {
    t.diagnostic(await compareAll(PROBES));
  });

  test('and no command that takes an oid for a repository’s own tells more', async () => {
    const answersTo = async (args: readonly string[], oids: readonly string[]): Promise<string[]> => {
      const answers = new Set<string>();
      for (const oid of [randomBytes(20).toString('hex'), ...oids]) {
        const { code, stdout, stderr } = await server.packhouse(...args, oid);
        assert.notEqual(code, 0);
        answers.add(`${code} ${stdout} ${stderr}`.replaceAll(oid, 'OID'));
      }
      return [...answers];
    };
    const secrets = [own['victim/parent'].tip, own['victim/parent'].objects[4]!.oid];
    assert.equal((await answersTo(['set-ref', 'mallory/fork', 'refs/heads/stolen'], secrets)).length, 1);
    // For operators, who see the whole pool, and no other.
    assert.equal((await answersTo(['cat', 'other/alone'], secrets.slice(0, 1))).length, 1);
  });

  test('nor when the packs of all repositories of its pool have become one', async (t) => {
    await cli('seal', '--now');
    await cli('compact');
    t.diagnostic(await compareAll(CHOSEN));
  });

  test('nor by a server that serves what refs named before: what another repository’s refs named is nobody’s', async (t) => {
    const peer = await server.startPeer({ PACKHOUSE_FETCH_SERVE_LOG_VALUES: 'true' });
    const compared: Compared[] = [];
    try {
      for (const name of NAMES) {
        const lost = [name === 'victim/parent' ? [] : samples(deleted), name === 'mallory/fork' ? [] : samples(forced)].flat();
        compared.push(await compare(asker(name, peer.url), name, lost, CHOSEN));
      }
    } finally {
      await peer.stop();
    }
    t.diagnostic(told(compared));
  });

  for (const name of NAMES) {
    test(`is not in a clone of ${name}, which has what its refs reach and nothing else`, async () => {
      const { url } = asker(name);
      const clone = scratchFolder('clone');
      await git(['clone', '-q', '--mirror', url.replace('//', `//any:${tokens.get(name)}@`), clone]);
      await git(['fsck', '--strict', '--full'], { cwd: clone });
      const reached = [...own[name].objects, ...(name !== 'other/alone' ? base.objects : [])].map(({ oid }) => oid).sort();
      assert.deepEqual(await reachableObjects(clone), [...new Set(reached)]);
      const all = await git(['cat-file', '--batch-all-objects', '--batch-check=%(objectname)'], { cwd: clone });
      assert.deepEqual(all.split('\n').sort(), [...new Set(reached)]);
    });
  }
});
