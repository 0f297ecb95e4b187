import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import {
  buildDelta,
  buildPack,
  commitBody,
  DELIM_PACKET,
  describeOnAStore,
  entry,
  FLUSH_PACKET,
  fetchCommand,
  git,
  oidOf,
  packet,
  type RefUpdate,
  refDelta,
  refusalOf,
  sendFetch,
  sendPush,
  syntheticHistory,
  type TestServer,
  treeBody,
  tryGit,
  type WireAnswer,
  ZERO_OID,
} from '../../../internal/testkit/mod.ts';

const NOWHERE = 'deadbeef'.repeat(5);
const EMPTY_TREE = oidOf('tree', '');
const CAPABILITIES = 'multi_ack_detailed side-band-64k thin-pack ofs-delta agent=test';

/** An answer as text in which every oid of the question is called the same. */
function anonymous(answer: WireAnswer, ...oids: readonly string[]): string {
  let text = answer.body.toString('latin1');
  for (const oid of oids) text = text.replaceAll(oid, 'OID');
  return `${answer.status} ${answer.headers['content-type']} ${text}`;
}

/** Without the push log, what refs pointed at before is nobody's: then ownership goes by the refs alone. */
for (const servesLog of [true, false]) {
  const env = { PACKHOUSE_FETCH_SERVE_LOG_VALUES: String(servesLog) };
  const name = `an object of another repository, log values ${servesLog ? 'served' : 'not served'}`;
  describeOnAStore(name, { env }, (server) => describePrivacy(server, servesLog));
}

function describePrivacy(server: () => TestServer, servesLog: boolean): void {
  for (const pool of ['its own pool', 'the same pool']) {
    describe(`in ${pool}`, () => {
      let url: string;
      let mine: string;
      /** A commit, its tree and a blob of the other repository. */
      let secrets: { readonly commit: string; readonly tree: string; readonly blob: string };
      let victim: string;

      before(async () => {
        const suffix = pool.replaceAll(' ', '-');
        victim = await syntheticHistory({ commits: 12, seed: 11 }).into();
        await git(['push', '-q', `${server().url}/victim/${suffix}.git`, 'main'], { cwd: victim });
        secrets = {
          commit: await git(['rev-parse', 'main'], { cwd: victim }),
          tree: await git(['rev-parse', 'main^{tree}'], { cwd: victim }),
          blob: await git(['rev-parse', 'main:bin/run'], { cwd: victim }),
        };
        // Only the modes' files are the same in both histories: leave them out of the attacker's.
        const attacker = await git(['init', '-q', '--bare', '--template=', `${victim}-attacker`]).then(
          () => `${victim}-attacker`,
        );
        const tree = await git(['mktree'], { cwd: attacker, input: '' });
        mine = await git(['commit-tree', '-m', 'mine', tree], { cwd: attacker });
        await git(['update-ref', 'refs/heads/main', mine], { cwd: attacker });
        const name = `mallory/${suffix}`;
        url = `${server().url}/${name}.git`;
        assert.equal((await server().packhouse('repo', 'create', name)).code, 0);
        if (pool === 'the same pool') {
          await server().query(
            `update repositories set pool_id = (select pool_id from repositories where owner = 'victim' and name = $1)
              where owner = 'mallory' and name = $1`,
            [suffix],
          );
        }
        await git(['push', '-q', url, 'main'], { cwd: attacker });
      });

      const kinds = ['commit', 'tree', 'blob'] as const;

      test('wanted, is an object that exists nowhere', async () => {
        for (const kind of kinds) {
          const [real, fake] = await Promise.all([secrets[kind], NOWHERE].map((oid) => sendFetch(url, fetchCommand([oid]))));
          assert.ok(real && fake);
          assert.equal(anonymous(real, secrets[kind]), anonymous(fake, NOWHERE));
          assert.match(anonymous(real, secrets[kind]), /not our ref OID/);
          const old = (oid: string) =>
            sendFetch(url, Buffer.concat([packet(`want ${oid} ${CAPABILITIES}\n`), FLUSH_PACKET, packet('done\n')]), {
              version: 0,
            });
          assert.equal(anonymous(await old(secrets[kind]), secrets[kind]), anonymous(await old(NOWHERE), NOWHERE));
        }
      });

      test('as a have, is no common ground and changes no byte of the pack', async () => {
        for (const kind of kinds) {
          for (const extra of [
            [],
            ['done'],
            ['thin-pack', 'done'],
            ['thin-pack', 'wait-for-done'],
            [`shallow ${secrets[kind]}`],
          ]) {
            const ask = (oid: string) =>
              sendFetch(
                url,
                fetchCommand(
                  [mine],
                  [oid],
                  extra.map((line) => line.replace(secrets[kind], oid)),
                ),
              );
            const [real, fake] = [await ask(secrets[kind]), await ask(NOWHERE)];
            assert.equal(anonymous(real, secrets[kind]), anonymous(fake, NOWHERE), `${kind} ${extra.join()}`);
            assert.ok(!real.body.includes(`ACK ${secrets[kind]}`));
          }
          const old = (oid: string) => {
            const lines = [packet(`want ${mine} ${CAPABILITIES}\n`), FLUSH_PACKET, packet(`have ${oid}\n`), FLUSH_PACKET];
            return sendFetch(url, Buffer.concat([...lines]), { version: 0 });
          };
          assert.equal(anonymous(await old(secrets[kind]), secrets[kind]), anonymous(await old(NOWHERE), NOWHERE));
        }
      });

      test('as the base of a thin delta, is missing', async () => {
        const size = '#!/bin/sh\n'.length;
        const push = (base: string) => {
          const blob = '#!/bin/shX';
          const tree = treeBody([['100644', 'f', oidOf('blob', blob)]]);
          const commit = commitBody(oidOf('tree', tree), [mine]);
          const delta = refDelta(base, buildDelta(size, size, [{ copy: [0, size - 1] }, { insert: 'X' }]));
          const pack = buildPack([delta, entry('tree', tree), entry('commit', commit)]);
          return sendPush(url, [[ZERO_OID, oidOf('commit', commit), 'refs/heads/thin']], pack);
        };
        const [real, fake] = [await push(secrets.blob), await push(NOWHERE)];
        assert.ok(refusalOf(real) !== undefined, 'accepted');
        assert.equal(anonymous(real, secrets.blob), anonymous(fake, NOWHERE));
      });

      test('as the target of a ref, was never sent', async () => {
        for (const kind of kinds) {
          for (const name of ['refs/heads/stolen', 'refs/tags/stolen']) {
            const push = (oid: string) => sendPush(url, [[ZERO_OID, oid, name]], buildPack([]));
            const [real, fake] = [await push(secrets[kind]), await push(NOWHERE)];
            assert.ok(refusalOf(real) !== undefined, `${kind} accepted as ${name}`);
            assert.equal(anonymous(real, secrets[kind]), anonymous(fake, NOWHERE), `${kind} ${name}`);
          }
        }
      });

      test('linked to by a pushed object, is missing', async () => {
        const links: readonly ((kind: string, oid: string) => Buffer[])[] = [
          (_, oid) => [commitBody(oid, [mine])],
          (_, oid) => [commitBody(oidOf('tree', ''), [oid])],
          (kind, oid) => {
            const tree = treeBody([[kind === 'tree' ? '40000' : '100644', 'f', oid]]);
            return [commitBody(oidOf('tree', tree), [mine]), tree];
          },
        ];
        for (const kind of kinds) {
          for (const link of links) {
            const push = async (oid: string) => {
              const [commit = Buffer.alloc(0), tree] = link(kind, oid);
              const tip = oidOf('commit', commit);
              const trees = tree === undefined ? [] : [entry('tree', tree)];
              const answer = await sendPush(
                url,
                [[ZERO_OID, tip, 'refs/heads/linked']],
                buildPack([...trees, entry('commit', commit)]),
              );
              assert.ok(refusalOf(answer) !== undefined, `a link to a ${kind} was accepted`);
              const texts = [oid, tip, ...(tree === undefined ? [] : [oidOf('tree', tree)])];
              return anonymous(answer, ...texts);
            };
            assert.equal(await push(secrets[kind]), await push(NOWHERE), kind);
          }
        }
      });

      test('does not come along with an object that links to it and is sent itself', async () => {
        const bytesOf = async (kind: 'commit' | 'tree') =>
          (await tryGit(['cat-file', kind, secrets[kind]], { cwd: victim })).stdout;
        const [commit, tree] = [await bytesOf('commit'), await bytesOf('tree')];
        assert.equal(oidOf('commit', commit), secrets.commit);
        assert.equal(oidOf('tree', tree), secrets.tree);
        const top = commitBody(secrets.tree, [mine]);
        const pushes: readonly (readonly [tip: string, entries: readonly Buffer[]])[] = [
          [secrets.commit, [entry('commit', commit)]],
          [secrets.commit, [entry('commit', commit), entry('tree', tree)]],
          [oidOf('commit', top), [entry('commit', top), entry('tree', tree)]],
        ];
        for (const [tip, entries] of pushes) {
          const answer = await sendPush(url, [[ZERO_OID, tip, 'refs/heads/half']], buildPack(entries));
          assert.match(refusalOf(answer) ?? 'accepted', /missing necessary objects/);
        }
        assert.match(anonymous(await sendFetch(url, fetchCommand([secrets.commit])), secrets.commit), /not our ref OID/);
      });

      test('asked for by object-info or as a sparse filter, is unknown', async () => {
        for (const kind of kinds) {
          const info = (oid: string) => {
            const lines = [packet('size\n'), packet(`oid ${oid}\n`)];
            return sendFetch(url, Buffer.concat([packet('command=object-info\n'), DELIM_PACKET, ...lines, FLUSH_PACKET]));
          };
          assert.equal(anonymous(await info(secrets[kind]), secrets[kind]), anonymous(await info(NOWHERE), NOWHERE));
          const sparse = (oid: string) => sendFetch(url, fetchCommand([mine], [], [`filter sparse:oid=${oid}`, 'done']));
          assert.equal(anonymous(await sparse(secrets[kind]), secrets[kind]), anonymous(await sparse(NOWHERE), NOWHERE));
        }
      });

      test(`of this repository, left behind by a forced push, is ${servesLog ? 'served' : 'not served'} to who names it`, async () => {
        const file = 'left behind\n';
        const tree = treeBody([['100644', 'f', oidOf('blob', file)]]);
        const old = commitBody(oidOf('tree', tree), [mine], 'old\n');
        const next = commitBody(EMPTY_TREE, [mine], 'new\n');
        const [from, to] = [oidOf('commit', old), oidOf('commit', next)];
        const push = (update: RefUpdate, ...entries: Parameters<typeof buildPack>[0]) =>
          sendPush(url, [update], buildPack(entries));
        const whole = [entry('blob', file), entry('tree', tree), entry('commit', old)];
        assert.equal(refusalOf(await push([ZERO_OID, from, 'refs/heads/moved'], ...whole)), undefined);
        assert.equal(refusalOf(await push([from, to, 'refs/heads/moved'], entry('tree', ''), entry('commit', next))), undefined);
        for (const oid of [from, oidOf('tree', tree), oidOf('blob', file)]) {
          const answer = (await sendFetch(url, fetchCommand([oid]))).body.toString('latin1');
          assert.match(answer, servesLog ? /PACK/ : new RegExp(`not our ref ${oid}`));
        }
      });

      test('pushed again by who has its bytes, is taken and served without a word', async () => {
        const push = async (content: string, branch: string) => {
          const tree = treeBody([['100644', 'f', oidOf('blob', content)]]);
          const commit = commitBody(oidOf('tree', tree), [mine]);
          const pack = buildPack([entry('blob', content), entry('tree', tree), entry('commit', commit)]);
          const tip = oidOf('commit', commit);
          const answer = await sendPush(url, [[ZERO_OID, tip, `refs/heads/${branch}`]], pack);
          assert.equal(refusalOf(answer), undefined);
          return { text: anonymous(answer, tip), tip };
        };
        assert.equal(oidOf('blob', '#!/bin/sh\n'), secrets.blob);
        const known = await push('#!/bin/sh\n', 'again1');
        const fresh = await push('#!/bin/zh\n', 'again2');
        assert.equal(known.text.replaceAll('again1', 'again2'), fresh.text);
        const answer = await sendFetch(url, fetchCommand([known.tip]));
        assert.match(answer.body.toString('latin1'), /PACK/);
      });
    });
  }
}
