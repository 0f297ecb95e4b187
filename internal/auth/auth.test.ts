import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Kysely, PostgresDialect, sql } from 'kysely';
import pg from 'pg';
import type { DB } from '../../db/queries/types.ts';
import { startTestDatabase, type TestDatabase } from '../testkit/mod.ts';
import { type AccessToken, createAuthorizer, createToken, decide, listTokens, revokeToken } from './mod.ts';

let database: TestDatabase;
let db: Kysely<DB>;
const POLICY = { mode: 'token', anonymousRead: true } as const;

function poolOf(max: number): pg.Pool {
  const pool = new pg.Pool({ connectionString: database.url, max });
  // The database may be gone before the last connection has ended.
  pool.on('error', () => {});
  return pool;
}

before(async () => {
  database = await startTestDatabase();
  db = new Kysely<DB>({ dialect: new PostgresDialect({ pool: poolOf(4) }) });
});
after(async () => {
  await db.destroy();
  await database.stop();
});

const basic = (user: string, password: string) => ({ user, password });
const repo = (visibility: 'public' | 'private' | 'missing', owner = 'alice', name = 'demo') => ({ owner, name, visibility });

test('a token is told once, and the database has its hash only', async () => {
  const { token, record } = await createToken(db, { name: 'ci', scopes: ['read'] });
  assert.match(token, /^pkh_[0-9A-Za-z]{40}$/);
  assert.equal(record.prefix, token.slice(0, 12));
  const { rows } = await sql<Record<string, unknown>>`select * from access_tokens`.execute(db);
  assert.equal(rows.length, 1);
  assert.ok(!JSON.stringify(rows).includes(token.slice(12)));
  const again = await createToken(db, { name: 'ci-2', scopes: ['read'] });
  assert.notEqual(again.token, token);
  assert.deepEqual(
    (await listTokens(db)).map(({ name }) => name),
    ['ci', 'ci-2'],
  );
});

test('two tokens in force cannot share a name; a revoked name is free again', async () => {
  await createToken(db, { name: 'twice', scopes: ['read'] });
  await assert.rejects(createToken(db, { name: 'twice', scopes: ['write'] }), { code: 'token-exists' });
  await revokeToken(db, 'twice');
  await assert.rejects(revokeToken(db, 'twice'), { code: 'token-not-found' });
  await createToken(db, { name: 'twice', scopes: ['write'] });
  const all = await listTokens(db, { includeRevoked: true });
  assert.equal(all.filter(({ name }) => name === 'twice').length, 2);
});

test('requests that make no sense are refused', async () => {
  await assert.rejects(createToken(db, { name: '', scopes: ['read'] }), { code: 'token-invalid' });
  await assert.rejects(createToken(db, { name: 'x', scopes: [] }), { code: 'token-invalid' });
  await assert.rejects(createToken(db, { name: 'x', scopes: ['read'], repository: 'demo' }), { code: 'token-invalid' });
});

test('git sends the token as password or as user name; nothing else is a token', async () => {
  const { token } = await createToken(db, { name: 'forms', scopes: ['read'] });
  const authorizer = createAuthorizer(db, POLICY);
  for (const credentials of [basic('alice', token), basic(token, ''), basic(token, 'x-oauth-basic')]) {
    const identity = await authorizer.authenticate(credentials);
    assert.equal(identity.kind === 'token' && identity.token.name, 'forms');
  }
  assert.deepEqual(await authorizer.authenticate(null), { kind: 'anonymous' });
  const wrong = token.slice(0, -1) + (token.endsWith('a') ? 'b' : 'a');
  for (const password of ['', 'secret', 'pkh_', wrong, `${token} `, token.toLowerCase(), `${token}\0`]) {
    assert.deepEqual(await authorizer.authenticate(basic('alice', password)), { kind: 'invalid' }, password);
  }
});

test('revoked and expired tokens are refused from then on', async () => {
  const authorizer = createAuthorizer(db, POLICY);
  const { token } = await createToken(db, { name: 'short', scopes: ['read'] });
  const header = basic('x', token);
  assert.equal((await authorizer.authenticate(header)).kind, 'token');
  await revokeToken(db, token.slice(0, 12));
  assert.equal((await authorizer.authenticate(header)).kind, 'invalid');

  const expired = await createToken(db, { name: 'expired', scopes: ['read'], expiresAt: new Date(Date.now() - 60_000) });
  assert.equal((await authorizer.authenticate(basic('x', expired.token))).kind, 'invalid');
  const later = await createToken(db, { name: 'later', scopes: ['read'], expiresAt: new Date(Date.now() + 3_600_000) });
  assert.equal((await authorizer.authenticate(basic('x', later.token))).kind, 'token');
});

test('a guess is answered alike whatever it shares with a token, and costs the same statements', async () => {
  const { token } = await createToken(db, { name: 'guessed', scopes: ['read'] });
  const statements: string[] = [];
  const counting = new Kysely<DB>({
    dialect: new PostgresDialect({ pool: poolOf(2) }),
    log: ({ query }) => void statements.push(query.sql),
  });
  const authorizer = createAuthorizer(counting, POLICY);
  const other = (letter: string | undefined): string => (letter === 'x' ? 'y' : 'x');
  const seen = new Set<string>();
  for (const shared of [4, 5, 12, 24, token.length - 1]) {
    statements.length = 0;
    const guess = token.slice(0, shared) + [...token.slice(shared)].map(other).join('');
    const error = await authorizer
      .authorize(basic('x', guess), repo('private'), 'read')
      .catch((reason: unknown) => String(reason));
    seen.add(`${error} after ${statements.join()}`);
  }
  assert.equal(seen.size, 1, [...seen].join('\n'));
  statements.length = 0;
  for (const password of ['', 'hunter2', token.slice(1), `${token}x`]) {
    await assert.rejects(authorizer.authorize(basic('x', password), repo('private'), 'read'), { code: 'unauthenticated' });
  }
  assert.deepEqual(statements, [], 'what is no token is not looked up');
  await counting.destroy();
});

test('a token that is used often is noted seldom; requests that come together share a look-up that began after they came', async () => {
  const { token } = await createToken(db, { name: 'busy', scopes: ['read'] });
  let queries = 0;
  const counting = new Kysely<DB>({
    dialect: new PostgresDialect({ pool: poolOf(2) }),
    log: () => {
      queries++;
    },
  });
  const authorizer = createAuthorizer(counting, POLICY);
  await authorizer.authenticate(basic('x', token));
  assert.equal(queries, 2, 'a look-up, a note');
  const all = Array.from({ length: 20 }, () => authorizer.authenticate(basic('x', token)));
  await all[0];
  const late = authorizer.authenticate(basic('x', token));
  await Promise.all([...all, late]);
  assert.equal(queries, 5, 'one for the first, one for those who came meanwhile, one for who came after that had begun');
  await counting.destroy();
  const used = (await listTokens(db)).find(({ name }) => name === 'busy');
  assert.ok(used?.lastUsedAt instanceof Date);
});

test('a database that fails is not remembered as an answer', async () => {
  const { token } = await createToken(db, { name: 'flaky', scopes: ['read'] });
  const authorizer = createAuthorizer(db, POLICY);
  await sql`alter table access_tokens rename to elsewhere`.execute(db);
  await assert.rejects(authorizer.authenticate(basic('x', token)), /does not exist/);
  await sql`alter table elsewhere rename to access_tokens`.execute(db);
  assert.equal((await authorizer.authenticate(basic('x', token))).kind, 'token');
});

function tokenWith(values: Partial<AccessToken>): { kind: 'token'; token: AccessToken } {
  const base = { id: 1, name: 't', prefix: 'pkh_', scopes: ['read'], owner: null, repository: null } as const;
  const times = { createdAt: new Date(), expiresAt: null, revokedAt: null, lastUsedAt: null };
  return { kind: 'token', token: { ...base, ...times, ...values } };
}

test('without authentication everything is allowed', () => {
  const policy = { mode: 'none', anonymousRead: false } as const;
  for (const visibility of ['public', 'private', 'missing'] as const) {
    assert.equal(decide(policy, { kind: 'anonymous' }, repo(visibility), 'write'), 'allow');
  }
});

test('a stranger gets the same answer for a private repository as for a missing one', () => {
  const strangers = [
    { kind: 'anonymous' } as const,
    { kind: 'invalid' } as const,
    tokenWith({ scopes: ['write'], owner: 'bob' }),
    tokenWith({ scopes: ['write'], owner: 'alice', repository: 'other' }),
  ];
  for (const anonymousRead of [true, false]) {
    for (const identity of strangers) {
      for (const access of ['read', 'write'] as const) {
        const policy = { mode: 'token', anonymousRead } as const;
        const hidden = decide(policy, identity, repo('private'), access);
        assert.equal(hidden, decide(policy, identity, repo('missing'), access));
        assert.equal(hidden, identity.kind === 'token' ? 'repository-not-found' : 'unauthenticated');
      }
    }
  }
});

test('anonymous reading of public repositories can be switched off', () => {
  assert.equal(decide(POLICY, { kind: 'anonymous' }, repo('public'), 'read'), 'allow');
  assert.equal(decide(POLICY, { kind: 'anonymous' }, repo('public'), 'write'), 'unauthenticated');
  assert.equal(decide(POLICY, { kind: 'invalid' }, repo('public'), 'read'), 'unauthenticated');
  const closed = { mode: 'token', anonymousRead: false } as const;
  assert.equal(decide(closed, { kind: 'anonymous' }, repo('public'), 'read'), 'unauthenticated');
  assert.equal(decide(closed, tokenWith({ owner: 'bob' }), repo('public'), 'read'), 'repository-not-found');
});

test('scopes and limits', () => {
  assert.equal(decide(POLICY, tokenWith({}), repo('private'), 'read'), 'allow');
  assert.equal(decide(POLICY, tokenWith({}), repo('private'), 'write'), 'forbidden');
  assert.equal(decide(POLICY, tokenWith({ owner: 'bob' }), repo('public'), 'write'), 'forbidden');
  assert.equal(decide(POLICY, tokenWith({}), repo('missing'), 'write'), 'repository-not-found');
  const writer = tokenWith({ scopes: ['write'], owner: 'alice', repository: 'demo' });
  for (const visibility of ['public', 'private', 'missing'] as const) {
    assert.equal(decide(POLICY, writer, repo(visibility), 'write'), 'allow');
    assert.equal(decide(POLICY, writer, repo(visibility), 'read'), 'allow', 'writing includes reading');
  }
  assert.equal(decide(POLICY, writer, repo('private', 'alice', 'Demo'), 'read'), 'repository-not-found');
});

test('authorize names who may, and refuses by code', async () => {
  const { token } = await createToken(db, { name: 'whole', scopes: ['write'], owner: 'alice' });
  const authorizer = createAuthorizer(db, POLICY);
  const mine = basic('x', token);
  assert.deepEqual(await authorizer.authorize(mine, repo('private'), 'write'), { kind: 'token', id: 'whole' });
  assert.deepEqual(await authorizer.authorize(null, repo('public'), 'read'), { kind: 'anonymous' });
  await assert.rejects(authorizer.authorize(null, repo('private'), 'read'), { code: 'unauthenticated' });
  await assert.rejects(authorizer.authorize(mine, repo('private', 'bob'), 'read'), { code: 'repository-not-found' });
  await assert.rejects(authorizer.authorize(mine, repo('public', 'bob'), 'write'), { code: 'forbidden' });
  const open = createAuthorizer(db, { mode: 'none', anonymousRead: true });
  assert.deepEqual(await open.authorize(basic('x', 'whatever'), repo('private'), 'write'), { kind: 'anonymous' });
});
