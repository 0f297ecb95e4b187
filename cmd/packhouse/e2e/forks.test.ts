import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import {
  buildDelta,
  buildPack,
  commitBody,
  DELIM_PACKET,
  describeOnStores,
  entry,
  FLUSH_PACKET,
  fetchCommand,
  git,
  ofsDelta,
  oidOf,
  packet,
  type RefUpdate,
  reachableObjects,
  refDelta,
  refusalOf,
  scratchFolder,
  sendFetch,
  sendPush,
  type TestServer,
  treeBody,
  type WireAnswer,
  ZERO_OID,
} from '../../../internal/testkit/mod.ts';

const NOWHERE = 'deadbeef'.repeat(5);
const CAPABILITIES = 'multi_ack_detailed side-band-64k thin-pack ofs-delta include-tag agent=test';

type Kind = 'commit' | 'tree' | 'blob' | 'tag';

interface Made {
  readonly kind: Kind;
  readonly data: Buffer;
  readonly oid: string;
}

function made(kind: Kind, data: Buffer | string): Made {
  return { kind, data: Buffer.from(data), oid: oidOf(kind, data) };
}

function tagBody(of: Made, name: string): string {
  return `object ${of.oid}\ntype ${of.kind}\ntag ${name}\ntagger A U Thor <author@example.com> 1700000000 +0000\n\nof ${name}\n`;
}

/** A branch of two commits with a folder, and tags of a commit, of a blob, of a tag. */
function branch(name: string, parent: string | null) {
  const objects: Made[] = [];
  const make = (kind: Kind, data: Buffer | string): Made => {
    const object = made(kind, data);
    objects.push(object);
    return object;
  };
  let tip = parent;
  let blob: Made | null = null;
  for (const step of ['one', 'two']) {
    blob = make('blob', `${name} ${step}, and more of it, so that a delta has something to copy\n`);
    const folder = make('tree', treeBody([['100644', 'file', blob.oid]]));
    const root = make('tree', treeBody([['40000', 'folder', folder.oid]]));
    tip = make('commit', commitBody(root.oid, tip === null ? [] : [tip], `${name} ${step}\n`)).oid;
  }
  const commit = objects.at(-1)!;
  const tag = make('tag', tagBody(commit, `${name}-tag`));
  const tags = [tag, make('tag', tagBody(tag, `${name}-nested`)), make('tag', tagBody(blob!, `${name}-blob`))];
  const updates: RefUpdate[] = [
    [ZERO_OID, commit.oid, `refs/heads/${name}`],
    ...tags.map((object, i): RefUpdate => [ZERO_OID, object.oid, `refs/tags/${name}-${i}`]),
  ];
  return { objects, tip: commit.oid, updates };
}

const pack = (objects: readonly Made[]): Buffer => buildPack(objects.map(({ kind, data }) => entry(kind, data)));

/** An answer as text in which every oid of the question is called the same. */
function anonymous(answer: WireAnswer, ...oids: readonly string[]): string {
  let text = answer.body.toString('latin1');
  for (const oid of oids) text = text.replaceAll(oid, 'OID').replaceAll(Buffer.from(oid, 'hex').toString('latin1'), 'RAW');
  return `${answer.status} ${answer.headers['content-type']} ${text}`;
}

/** Asks one question about an oid; the answer without that oid. `tip` is a commit that the repository has. */
type Probe = (url: string, oid: string, object: Made, tip: string) => Promise<string>;

const fetched = async (url: string, oid: string, body: Buffer, version = 2): Promise<string> =>
  anonymous(await sendFetch(url, body, { version }), oid);
const pushed = async (url: string, oid: string, updates: Parameters<typeof sendPush>[1], bytes: Buffer, ...more: string[]) => {
  const answer = await sendPush(url, updates, bytes);
  assert.ok(refusalOf(answer) !== undefined, 'a push that must be refused was taken');
  return anonymous(answer, oid, ...more);
};
const old = (lines: readonly string[], haves: readonly string[], end: string): Buffer =>
  Buffer.concat([
    ...lines.map((line, i) => packet(`${line}${i === 0 ? ` ${CAPABILITIES}` : ''}\n`)),
    FLUSH_PACKET,
    ...haves.map((oid) => packet(`have ${oid}\n`)),
    end === 'done' ? packet('done\n') : FLUSH_PACKET,
  ]);

/** A push of a commit that links to the oid in some way. */
function linked(url: string, oid: string, objects: readonly Made[]): Promise<string> {
  const tip = objects.at(-1)!;
  const ref = tip.kind === 'tag' ? 'refs/tags/linked' : 'refs/heads/linked';
  const names = objects.map((object) => object.oid);
  return pushed(url, oid, [[ZERO_OID, tip.oid, ref]], pack(objects), ...names);
}

const PROBES: Readonly<Record<string, Probe>> = {
  'a want': (url, oid) => fetched(url, oid, fetchCommand([oid])),
  'a want beside one that is good': (url, oid, _, tip) => fetched(url, oid, fetchCommand([tip, oid])),
  'a want of version 0': (url, oid) => fetched(url, oid, old([`want ${oid}`], [], 'done'), 0),
  'a want of version 1': (url, oid) => fetched(url, oid, old([`want ${oid}`], [], 'done'), 1),
  'a want of a shallow fetch': (url, oid) => fetched(url, oid, fetchCommand([oid], [], ['deepen 1', 'done'])),
  'a want with a filter': (url, oid) => fetched(url, oid, fetchCommand([oid], [], ['filter blob:none', 'done'])),
  'a shallow line': (url, oid, _, tip) => fetched(url, oid, fetchCommand([tip], [], [`shallow ${oid}`, 'done'])),
  'a shallow line with a depth': (url, oid, _, tip) =>
    fetched(url, oid, fetchCommand([tip], [], [`shallow ${oid}`, 'deepen 2', 'done'])),
  'a shallow line that is deepened': (url, oid, _, tip) =>
    fetched(url, oid, fetchCommand([tip], [], [`shallow ${oid}`, 'deepen 1', 'deepen-relative', 'done'])),
  'a shallow line of version 0': (url, oid, _, tip) =>
    fetched(url, oid, old([`want ${tip}`, `shallow ${oid}`, 'deepen 2'], [], 'done'), 0),
  'what deepening leaves out': (url, oid, _, tip) => fetched(url, oid, fetchCommand([tip], [], [`deepen-not ${oid}`, 'done'])),
  'a have': (url, oid, _, tip) => fetched(url, oid, fetchCommand([tip], [oid], [])),
  'a have, done': (url, oid, _, tip) => fetched(url, oid, fetchCommand([tip], [oid], ['thin-pack', 'ofs-delta', 'done'])),
  'a have that waits': (url, oid, _, tip) => fetched(url, oid, fetchCommand([tip], [oid, tip], ['wait-for-done'])),
  'a have of version 0': (url, oid, _, tip) => fetched(url, oid, old([`want ${tip}`], [oid], ''), 0),
  'a have of version 0 beside a common one': (url, oid, _, tip) => fetched(url, oid, old([`want ${tip}`], [tip, oid], ''), 0),
  'a sparse filter': (url, oid, _, tip) => fetched(url, oid, fetchCommand([tip], [], [`filter sparse:oid=${oid}`, 'done'])),
  'a name for a want': (url, oid) => fetched(url, oid, fetchCommand([], [], [`want-ref refs/heads/${oid}`, 'done'])),
  'object-info': (url, oid, _, tip) => {
    const lines = [packet('size\n'), packet(`oid ${oid}\n`), packet(`oid ${tip}\n`)];
    return fetched(url, oid, Buffer.concat([packet('command=object-info\n'), DELIM_PACKET, ...lines, FLUSH_PACKET]));
  },
  'the value of a branch': (url, oid) => pushed(url, oid, [[ZERO_OID, oid, 'refs/heads/stolen']], buildPack([])),
  'the value of a tag': (url, oid) => pushed(url, oid, [[ZERO_OID, oid, 'refs/tags/stolen']], buildPack([])),
  'the old value of an update': (url, oid, _, tip) => pushed(url, oid, [[oid, tip, 'refs/heads/main']], buildPack([])),
  'the old value of a deletion': async (url, oid, _, tip) => {
    assert.equal(refusalOf(await sendPush(url, [[ZERO_OID, tip, 'refs/heads/short']], buildPack([]))), undefined);
    const answer = await sendPush(url, [[oid, ZERO_OID, 'refs/heads/short']], Buffer.alloc(0));
    assert.equal(refusalOf(answer), undefined, 'git deletes whatever is there when it does not know the old value');
    return anonymous(answer, oid);
  },
  'a delta base': (url, oid, object, tip) => {
    const { length } = object.data;
    const delta = refDelta(oid, buildDelta(length, length + 1, [{ copy: [0, length] }, { insert: 'X' }]));
    const commit = made('commit', commitBody(oidOf('tree', ''), [tip], 'thin\n'));
    const bytes = buildPack([delta, entry('tree', ''), entry('commit', commit.data)]);
    return pushed(url, oid, [[ZERO_OID, commit.oid, 'refs/heads/thin']], bytes);
  },
  'a delta base of another size, beside a broken object': (url, oid, object, tip) => {
    const delta = refDelta(oid, buildDelta(object.data.length + 1, 5, [{ insert: 'hello' }]));
    const commit = made('commit', commitBody(oidOf('tree', ''), [tip], 'thin\n'));
    const bytes = buildPack([delta, entry('commit', commit.data), entry('commit', 'broken')]);
    return pushed(url, oid, [[ZERO_OID, commit.oid, 'refs/heads/thin']], bytes);
  },
  'a file': (url, oid, _, tip) => {
    const tree = made('tree', treeBody([['100644', 'f', oid]]));
    return linked(url, oid, [tree, made('commit', commitBody(tree.oid, [tip]))]);
  },
  '.gitmodules': (url, oid, _, tip) => {
    const tree = made('tree', treeBody([['100644', '.gitmodules', oid]]));
    return linked(url, oid, [tree, made('commit', commitBody(tree.oid, [tip]))]);
  },
  'a folder': (url, oid, _, tip) => {
    const tree = made('tree', treeBody([['40000', 'f', oid]]));
    return linked(url, oid, [tree, made('commit', commitBody(tree.oid, [tip]))]);
  },
  'a root tree': (url, oid, _, tip) => linked(url, oid, [made('commit', commitBody(oid, [tip]))]),
  'a parent': (url, oid) => linked(url, oid, [made('tree', ''), made('commit', commitBody(oidOf('tree', ''), [oid]))]),
  'what a tag names': (url, oid, object) => linked(url, oid, [made('tag', tagBody({ ...object, oid }, 'linked'))]),
};

/** Small packs stay in PostgreSQL, or none does. */
for (const tier of ['tail', 'store']) {
  const env: Record<string, string> = tier === 'tail' ? {} : { PACKHOUSE_PUSH_TAIL_BYTES_MAX: '1' };
  describeOnStores(`forks whose packs are ${tier} packs`, { env }, (server) => {
    describeIsolation(server);
    describeFetches(server);
  });
}

function describeIsolation(server: () => TestServer): void {
  const base = branch('main', null);
  const others = { parent: branch('parent', base.tip), one: branch('one', base.tip), two: branch('two', base.tip) };
  const names = ['parent', 'one', 'two'] as const;
  const url = (name: string): string => `${server().url}/net/${name}.git`;
  /** What each repository has had and lost: never its own to be asked for here, and no other's either. */
  const lost = branch('lost', base.tip);

  before(async () => {
    assert.equal(refusalOf(await sendPush(url('parent'), base.updates, pack(base.objects))), undefined);
    assert.equal(refusalOf(await sendPush(url('parent'), lost.updates, pack(lost.objects))), undefined);
    const gone = lost.updates.map(([, oid, ref]) => [oid, ZERO_OID, ref] as const);
    assert.equal(refusalOf(await sendPush(url('parent'), gone, Buffer.alloc(0))), undefined);
    for (const fork of ['one', 'two']) {
      const { code, stderr } = await server().packhouse('repo', 'fork', 'net/parent', `net/${fork}`);
      assert.equal(code, 0, stderr);
    }
    for (const name of names) {
      const { updates, objects } = others[name];
      assert.equal(refusalOf(await sendPush(url(name), updates, pack(objects))), undefined);
    }
  });

  test('are in one pool', async () => {
    const rows = await server().query<{ pools: string }>(
      `select count(distinct pool_id)::int as pools from repositories where owner = 'net'`,
    );
    assert.deepEqual(rows, [{ pools: 1 }]);
  });

  for (const name of names) {
    const foreign = names.filter((other) => other !== name).flatMap((other) => others[other].objects);
    // The parent's log has what it lost, so only its forks must not know of it.
    const objects = name === 'parent' ? foreign : [...foreign, ...lost.objects];
    for (const [what, probe] of Object.entries(PROBES)) {
      test(`${name}: an object of another fork as ${what} is an object that exists nowhere`, async () => {
        const { tip } = others[name];
        for (const object of objects) {
          const [real, fake] = [await probe(url(name), object.oid, object, tip), await probe(url(name), NOWHERE, object, tip)];
          assert.equal(real, fake, `${object.kind} ${object.oid}`);
        }
      });
    }

    test(`${name}: a submodule’s entry is no way to read what another fork has`, async () => {
      const { tip } = others[name];
      for (const object of objects) {
        const ask = async (oid: string): Promise<string> => {
          const root = made('tree', treeBody([['160000', 'sub', oid]]));
          const commit = made('commit', commitBody(root.oid, [tip], 'sub\n'));
          const answer = await sendPush(url(name), [[ZERO_OID, commit.oid, 'refs/heads/sub']], pack([root, commit]));
          assert.equal(refusalOf(answer), undefined);
          const answers: string[] = [];
          for (const path of ['sub', 'sub/file', 'sub/folder/file']) {
            const body = fetchCommand([tip], [], [`filter sparse:oid=sub:${path}`, 'done']);
            answers.push(anonymous(await sendFetch(url(name), body), oid));
          }
          assert.equal(
            refusalOf(await sendPush(url(name), [[commit.oid, ZERO_OID, 'refs/heads/sub']], Buffer.alloc(0))),
            undefined,
          );
          return answers.join();
        };
        assert.equal(await ask(object.oid), await ask(NOWHERE), `${object.kind} ${object.oid}`);
      }
    });

    test(`${name}: a clone has what its refs reach and not one object more`, async () => {
      const clone = scratchFolder('clone');
      await git(['clone', '-q', '--mirror', url(name), clone]);
      await git(['fsck', '--strict', '--full'], { cwd: clone });
      const own = [...base.objects, ...others[name].objects].map(({ oid }) => oid).sort();
      assert.deepEqual([...new Set(own)], await reachableObjects(clone));
      assert.deepEqual([...new Set(own)], await allObjects(clone));
    });
  }
}

async function allObjects(cwd: string): Promise<string[]> {
  const out = await git(['cat-file', '--batch-all-objects', '--batch-check=%(objectname)'], { cwd });
  return out.split('\n').sort();
}

function describeFetches(server: () => TestServer): void {
  describe('of which one lacks the base of a stored delta', () => {
    const text = 'what the two files share, long enough to be worth a delta, and a little longer\n';
    const [hidden, shown] = [made('blob', `${text}hidden`), made('blob', `${text}shown`)];
    const trees = [hidden, shown].map((blob) => made('tree', treeBody([['100644', 'file', blob.oid]])));
    const root = made('commit', commitBody(oidOf('tree', ''), [], 'root\n'));
    const commits = trees.map((tree) => made('commit', commitBody(tree.oid, [root.oid])));
    const delta = buildDelta(hidden.data.length, shown.data.length, [{ copy: [0, text.length] }, { insert: 'shown' }]);
    const hiddenEntry = entry('blob', hidden.data);
    const kinds = { ofs: ofsDelta(hiddenEntry.length, delta), ref: refDelta(hidden.oid, delta) };

    for (const [kind, deltaEntry] of Object.entries(kinds)) {
      test(`by ${kind === 'ofs' ? 'distance' : 'name'}, its clients get the object and do not hear of the base`, async () => {
        const url = `${server().url}/bases/${kind}.git`;
        const rest = [...trees, root, ...commits].map(({ kind: type, data }) => entry(type, data));
        const bytes = buildPack([hiddenEntry, deltaEntry, ...rest, entry('tree', '')]);
        const updates = commits.map((commit, i) => [ZERO_OID, commit.oid, `refs/heads/${i === 0 ? 'hidden' : 'shown'}`] as const);
        assert.equal(refusalOf(await sendPush(url, updates, bytes)), undefined);
        assert.equal(
          refusalOf(await sendPush(url, [[commits[0]!.oid, ZERO_OID, 'refs/heads/hidden']], Buffer.alloc(0))),
          undefined,
        );
        assert.equal((await server().packhouse('repo', 'fork', `bases/${kind}`, `fork/${kind}`)).code, 0);
        const fork = `${server().url}/fork/${kind}.git`;
        for (const extra of [['done'], ['ofs-delta', 'done'], ['thin-pack', 'ofs-delta', 'done']]) {
          for (const haves of [[], [root.oid]]) {
            const { body } = await sendFetch(fork, fetchCommand([commits[1]!.oid], haves, extra));
            assert.ok(body.includes('PACK'));
            assert.ok(!body.includes(Buffer.from(hidden.oid, 'hex')));
          }
        }
        const clone = scratchFolder('clone');
        await git(['clone', '-q', '--mirror', fork, clone]);
        assert.deepEqual(
          await allObjects(clone),
          [shown, trees[1]!, root, commits[1]!, made('tree', '')].map(({ oid }) => oid).sort(),
        );
        assert.match(anonymous(await sendFetch(fork, fetchCommand([hidden.oid])), hidden.oid), /not our ref OID/);
      });
    }
  });

  test('live on when their parent, or a fork, is deleted', async () => {
    const base = branch('main', null);
    const url = (name: string): string => `${server().url}/family/${name}.git`;
    assert.equal(refusalOf(await sendPush(url('parent'), base.updates, pack(base.objects))), undefined);
    const expected = [...new Set(base.objects.map(({ oid }) => oid))].sort();
    for (const [from, to] of [
      ['parent', 'child'],
      ['child', 'grandchild'],
    ] as const)
      assert.equal((await server().packhouse('repo', 'fork', `family/${from}`, `family/${to}`)).code, 0);
    for (const [deleted, left] of [
      ['parent', 'child'],
      ['child', 'grandchild'],
    ] as const) {
      assert.equal((await server().packhouse('repo', 'delete', `family/${deleted}`)).code, 0);
      assert.equal((await sendFetch(url(deleted), fetchCommand([base.tip]))).status, 404);
      const clone = scratchFolder('clone');
      await git(['clone', '-q', '--mirror', url(left), clone]);
      assert.deepEqual(await allObjects(clone), expected);
    }
    const checked = await server().packhouse('fsck', 'family/grandchild');
    assert.equal(checked.code, 0, checked.stdout);
  });
}
