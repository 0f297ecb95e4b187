import assert from 'node:assert/strict';
import {
  buildDelta,
  buildPack,
  commitBody,
  DELIM_PACKET,
  entry,
  FLUSH_PACKET,
  fetchCommand,
  oidOf,
  packet,
  type RefUpdate,
  refDelta,
  refusalOf,
  sendFetch,
  sendPush,
  treeBody,
  type WireAnswer,
  wireRequest,
  ZERO_OID,
} from '../../../internal/testkit/mod.ts';

const CAPABILITIES = 'multi_ack_detailed side-band-64k thin-pack ofs-delta include-tag filter agent=test';

export type Kind = 'commit' | 'tree' | 'blob' | 'tag';

export interface Made {
  readonly kind: Kind;
  readonly data: Buffer;
  readonly oid: string;
}

export function made(kind: Kind, data: Buffer | string): Made {
  return { kind, data: Buffer.from(data), oid: oidOf(kind, data) };
}

function tagBody({ oid, kind }: Pick<Made, 'oid' | 'kind'>, name: string): string {
  return `object ${oid}\ntype ${kind}\ntag ${name}\ntagger A U Thor <author@example.com> 1700000000 +0000\n\nof ${name}\n`;
}

export const packOf = (objects: readonly Made[]): Buffer => buildPack(objects.map(({ kind, data }) => entry(kind, data)));

/** A branch of two commits, whose file stands where that of every other branch stands, and tags of a commit, of a tag, of a blob. */
export function branch(
  name: string,
  parent: string | null,
  content = `${name}, and more of it, so that a delta has something to copy\n`,
) {
  const objects: Made[] = [];
  const make = (kind: Kind, data: Buffer | string): Made => {
    const object = made(kind, data);
    objects.push(object);
    return object;
  };
  let tip = parent;
  let blob: Made | null = null;
  for (const step of ['one', 'two']) {
    blob = make('blob', `${step} ${content}`);
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

/** Who asks, and whom. */
export interface Asker {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** A commit that the repository has. */
  readonly tip: string;
}

/** What is asked about: an object that the repository does not reach, or an oid that nobody has with the kind and length of one. */
export interface Asked {
  readonly oid: string;
  readonly kind: Kind;
  readonly length: number;
}

type Probe = (asker: Asker, asked: Asked) => Promise<string>;

/** An answer has a length when it is ready in time, which is the machine's to say. */
const SKIPPED_HEADERS: ReadonlySet<string> = new Set(['date', 'x-request-id', 'content-length', 'transfer-encoding']);

/** A whole answer as text, in which the oid of the question, and those of objects made of it, are called the same. */
function anonymous({ status, headers, body }: WireAnswer, oid: string, more: readonly string[] = []): string {
  const lines = Object.entries(headers).filter(([name]) => !SKIPPED_HEADERS.has(name));
  let text = `${status} ${JSON.stringify(lines)} ${body.toString('latin1')}`;
  for (const [i, name] of [oid, ...more].entries()) {
    text = text.replaceAll(name, `OID${i}`).replaceAll(Buffer.from(name, 'hex').toString('latin1'), `RAW${i}`);
  }
  return text;
}

const fetched =
  (bodyOf: (oid: string, tip: string) => Buffer, version = 2): Probe =>
  async ({ url, headers, tip }, { oid }) =>
    anonymous(await sendFetch(url, bodyOf(oid, tip), { version, headers }), oid);

const got =
  (path: (oid: string) => string): Probe =>
  async ({ url, headers }, { oid }) =>
    anonymous(await wireRequest(`${url}/${path(oid)}`, { headers }), oid);

async function pushed(
  { url, headers }: Asker,
  oid: string,
  updates: readonly RefUpdate[],
  bytes: Buffer,
  more: readonly string[] = [],
) {
  const answer = await sendPush(url, updates, bytes, { headers });
  assert.ok(refusalOf(answer) !== undefined, 'a push that must be refused was taken');
  return anonymous(answer, oid, more);
}

/** A push of objects of which some link to the oid; the last one is the value of the ref. */
const linked =
  (make: (asked: Asked, tip: string) => readonly Made[]): Probe =>
  (asker, asked) => {
    const objects = make(asked, asker.tip);
    const tip = objects.at(-1)!;
    const ref = tip.kind === 'tag' ? 'refs/tags/linked' : 'refs/heads/linked';
    const names = objects.map((object) => object.oid);
    return pushed(asker, asked.oid, [[ZERO_OID, tip.oid, ref]], packOf(objects), names);
  };

const old = (lines: readonly string[], haves: readonly string[], end: string, capabilities = CAPABILITIES): Buffer =>
  Buffer.concat([
    ...lines.map((line, i) => packet(`${line}${i === 0 ? ` ${capabilities}` : ''}\n`)),
    FLUSH_PACKET,
    ...haves.map((oid) => packet(`have ${oid}\n`)),
    end === 'done' ? packet('done\n') : FLUSH_PACKET,
  ]);

const EMPTY = made('tree', '');
const treeOf = (mode: string, name: string, oid: string): Made => made('tree', treeBody([[mode, name, oid]]));
const commitOf = (tree: Made, ...parents: string[]): Made => made('commit', commitBody(tree.oid, parents));

const FETCHES: Readonly<Record<string, Probe>> = {
  'a want': fetched((oid) => fetchCommand([oid])),
  'a want beside one that is good': fetched((oid, tip) => fetchCommand([tip, oid])),
  'a want beside a have': fetched((oid, tip) => fetchCommand([oid], [tip], ['thin-pack', 'done'])),
  'a want of version 0': fetched((oid) => old([`want ${oid}`], [], 'done'), 0),
  'a want of version 1': fetched((oid) => old([`want ${oid}`], [], 'done'), 1),
  'a want of a shallow fetch': fetched((oid) => fetchCommand([oid], [], ['deepen 1', 'done'])),
  'a want of a fetch by date': fetched((oid) => fetchCommand([oid], [], ['deepen-since 1', 'done'])),
  'a want with a filter': fetched((oid) => fetchCommand([oid], [], ['filter blob:none', 'done'])),
  'a want with a filter by depth': fetched((oid) => fetchCommand([oid], [], ['filter tree:0', 'done'])),
  'a shallow line': fetched((oid, tip) => fetchCommand([tip], [], [`shallow ${oid}`, 'done'])),
  'a shallow line with a depth': fetched((oid, tip) => fetchCommand([tip], [], [`shallow ${oid}`, 'deepen 2', 'done'])),
  'a shallow line that is deepened': fetched((oid, tip) =>
    fetchCommand([tip], [], [`shallow ${oid}`, 'deepen 1', 'deepen-relative', 'done']),
  ),
  'a shallow line of version 0': fetched((oid, tip) => old([`want ${tip}`, `shallow ${oid}`, 'deepen 2'], [], 'done'), 0),
  'what deepening leaves out': fetched((oid, tip) => fetchCommand([tip], [], [`deepen-not ${oid}`, 'done'])),
  'a have': fetched((oid, tip) => fetchCommand([tip], [oid], [])),
  'a have, done': fetched((oid, tip) => fetchCommand([tip], [oid], ['thin-pack', 'ofs-delta', 'done'])),
  'a have that waits': fetched((oid, tip) => fetchCommand([tip], [oid, tip], ['wait-for-done'])),
  'a have of a shallow client': fetched((oid, tip) => fetchCommand([tip], [oid], [`shallow ${oid}`, 'thin-pack', 'done'])),
  'a have of version 0': fetched((oid, tip) => old([`want ${tip}`], [oid], ''), 0),
  'a have of version 0 beside a common one': fetched((oid, tip) => old([`want ${tip}`], [tip, oid], ''), 0),
  'a have of a client without acknowledgements': fetched((oid, tip) => old([`want ${tip}`], [oid], '', 'ofs-delta'), 0),
  'a have of a client with simple acknowledgements': fetched((oid, tip) => old([`want ${tip}`], [oid], '', 'multi_ack'), 0),
  'a sparse filter': fetched((oid, tip) => fetchCommand([tip], [], [`filter sparse:oid=${oid}`, 'done'])),
  'a sparse filter by path': fetched((oid, tip) => fetchCommand([tip], [], [`filter sparse:oid=${oid}:folder/file`, 'done'])),
  'a part of a filter': fetched((oid, tip) => fetchCommand([tip], [], [`filter combine:tree:3+sparse:oid=${oid}`, 'done'])),
  'a name for a want': fetched((oid) => fetchCommand([], [], [`want-ref refs/heads/${oid}`, 'done'])),
  'a prefix of refs': fetched((oid) =>
    Buffer.concat([packet('command=ls-refs\n'), DELIM_PACKET, packet(`ref-prefix ${oid}\n`), FLUSH_PACKET]),
  ),
  'object-info': fetched((oid, tip) => {
    const lines = [packet('size\n'), packet(`oid ${oid}\n`), packet(`oid ${tip}\n`)];
    return Buffer.concat([packet('command=object-info\n'), DELIM_PACKET, ...lines, FLUSH_PACKET]);
  }),
};

const PUSHES: Readonly<Record<string, Probe>> = {
  'the value of a branch': (asker, { oid }) => pushed(asker, oid, [[ZERO_OID, oid, 'refs/heads/stolen']], buildPack([])),
  'the value of a tag': (asker, { oid }) => pushed(asker, oid, [[ZERO_OID, oid, 'refs/tags/stolen']], buildPack([])),
  'the old value of an update': (asker, { oid }) => pushed(asker, oid, [[oid, asker.tip, 'refs/heads/main']], buildPack([])),
  'the old value of a deletion': async ({ url, headers, tip }, { oid }) => {
    assert.equal(refusalOf(await sendPush(url, [[ZERO_OID, tip, 'refs/heads/short']], buildPack([]), { headers })), undefined);
    const answer = await sendPush(url, [[oid, ZERO_OID, 'refs/heads/short']], Buffer.alloc(0), { headers });
    assert.equal(refusalOf(answer), undefined, 'git deletes whatever is there when it does not know the old value');
    return anonymous(answer, oid);
  },
  'where a pusher is shallow': async ({ url, headers, tip }, { oid }) => {
    const commit = commitOf(EMPTY, oid);
    const lines = [packet(`shallow ${oid}`), packet(`shallow ${tip}`)];
    const body = [...lines, packet(`${ZERO_OID} ${commit.oid} refs/heads/shallow\0 report-status`), FLUSH_PACKET];
    const type = { 'Content-Type': 'application/x-git-receive-pack-request' };
    const sent = Buffer.concat([...body, packOf([EMPTY, commit])]);
    const answer = await wireRequest(`${url}/git-receive-pack`, { method: 'POST', headers: { ...headers, ...type }, body: sent });
    assert.ok(refusalOf(answer) !== undefined);
    return anonymous(answer, oid, [commit.oid]);
  },
  'a delta base': (asker, { oid, length }) => {
    const ops = [...(length > 0 ? [{ copy: [0, Math.min(length, 5000)] as const }] : []), { insert: 'X' }];
    const delta = refDelta(oid, buildDelta(length, Math.min(length, 5000) + 1, ops));
    const commit = commitOf(EMPTY, asker.tip);
    const bytes = buildPack([delta, entry('tree', ''), entry('commit', commit.data)]);
    return pushed(asker, oid, [[ZERO_OID, commit.oid, 'refs/heads/thin']], bytes);
  },
  'a delta base of another size, beside a broken object': (asker, { oid, length }) => {
    const delta = refDelta(oid, buildDelta(length + 1, 5, [{ insert: 'hello' }]));
    const commit = commitOf(EMPTY, asker.tip);
    const bytes = buildPack([delta, entry('commit', commit.data), entry('commit', 'broken')]);
    return pushed(asker, oid, [[ZERO_OID, commit.oid, 'refs/heads/thin']], bytes);
  },
  'a file': linked(({ oid }, tip) => {
    const tree = treeOf('100644', 'f', oid);
    return [tree, commitOf(tree, tip)];
  }),
  'a file at its own place': linked(({ oid }, tip) => {
    const folder = treeOf('100644', 'file', oid);
    const root = treeOf('40000', 'folder', folder.oid);
    return [folder, root, commitOf(root, tip)];
  }),
  '.gitmodules': linked(({ oid }, tip) => {
    const tree = treeOf('100644', '.gitmodules', oid);
    return [tree, commitOf(tree, tip)];
  }),
  'a folder': linked(({ oid }, tip) => {
    const tree = treeOf('40000', 'folder', oid);
    return [tree, commitOf(tree, tip)];
  }),
  'a root tree': linked(({ oid }, tip) => [made('commit', commitBody(oid, [tip]))]),
  'a parent': linked(({ oid }) => [EMPTY, commitOf(EMPTY, oid)]),
  'one of two parents': linked(({ oid }, tip) => [EMPTY, commitOf(EMPTY, tip, oid)]),
  'what a tag names': linked((asked) => [made('tag', tagBody(asked, 'linked'))]),
  'a submodule': async ({ url, headers, tip }, { oid }) => {
    const root = treeOf('160000', 'sub', oid);
    const commit = commitOf(root, tip);
    const update = [ZERO_OID, commit.oid, 'refs/heads/sub'] as const;
    assert.equal(refusalOf(await sendPush(url, [update], packOf([root, commit]), { headers })), undefined);
    const answers: string[] = [];
    for (const path of ['sub', 'sub/file', 'sub/folder/file']) {
      const body = fetchCommand([tip], [], [`filter sparse:oid=sub:${path}`, 'done']);
      answers.push(anonymous(await sendFetch(url, body, { headers }), oid));
    }
    const gone = await sendPush(url, [[commit.oid, ZERO_OID, 'refs/heads/sub']], Buffer.alloc(0), { headers });
    assert.equal(refusalOf(gone), undefined);
    return answers.join();
  },
};

const PATHS: Readonly<Record<string, Probe>> = {
  'a loose object': got((oid) => `objects/${oid.slice(0, 2)}/${oid.slice(2)}`),
  'a pack': got((oid) => `objects/pack/pack-${oid}.pack`),
  'an index': got((oid) => `objects/pack/pack-${oid}.idx`),
  'a path': got((oid) => oid),
  'a service': got((oid) => `info/refs?service=${oid}`),
  'a ref of the dumb protocol': got((oid) => `refs/heads/${oid}`),
  'a repository': async ({ url, headers }, { oid }) =>
    anonymous(await wireRequest(`${new URL(url).origin}/${oid}/${oid}.git/info/refs?service=git-upload-pack`, { headers }), oid),
};

/** Every way to ask a repository about an oid. */
export const PROBES: Readonly<Record<string, Probe>> = { ...FETCHES, ...PUSHES, ...PATHS };
