import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createLogger } from '../../internal/base/mod.ts';
import { findRunningEmbedded, startEmbeddedPostgres } from '../../internal/embedded/mod.ts';
import { startTestDatabase, type TestDatabase } from '../../internal/testkit/mod.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'packhouse-cli-'));
let database: TestDatabase;

before(async () => {
  database = await startTestDatabase();
});
after(async () => {
  await database.stop();
  rmSync(folder, { recursive: true, force: true });
});

interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the CLI in an empty folder, on the test's database unless `env` says otherwise. */
async function packhouse(args: readonly string[], env: Record<string, string> = {}): Promise<Result> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd: folder,
    // Compiled once for all the runs: most of a run is loading.
    env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: join(folder, 'cache'), PACKHOUSE_DATABASE_URL: database.url, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const text = async (stream: typeof child.stdout): Promise<string> => (await stream.setEncoding('utf8').toArray()).join('');
  const [stdout, stderr, code] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise<number | null>((resolve) => child.once('close', resolve)),
  ]);
  return { code, stdout, stderr };
}

async function json(args: readonly string[], env?: Record<string, string>): Promise<unknown> {
  const { code, stdout, stderr } = await packhouse([...args, '--json'], env);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

test('every verb explains itself, with examples', async () => {
  for (const verb of ['serve', 'migrate', 'repo', 'token', 'config', 'psql', 'import', 'eject', 'where', 'stats', 'fsck']) {
    const { code, stdout } = await packhouse([verb, '--help']);
    assert.equal(code, 0);
    assert.match(stdout, new RegExp(`Usage: packhouse ${verb}[\\s\\S]*Examples:\\n  packhouse`, 'i'));
  }
  assert.match(
    (await packhouse(['--help'])).stdout,
    /serve[\s\S]*migrate[\s\S]*repo[\s\S]*token[\s\S]*config[\s\S]*psql[\s\S]*version/,
  );
});

test('version', async () => {
  assert.deepEqual(await json(['version']), { version: '0.1.0', node: process.version });
  assert.match((await packhouse(['version'])).stdout, /^packhouse 0\.1\.0 /);
});

test('a verb loads what it needs, of large packages one file: 709 modules took most of its time', async () => {
  const count = `import { registerHooks } from 'node:module';
    let loaded = 0;
    registerHooks({ load: (url, context, next) => (loaded++, next(url, context)) });
    process.once('exit', () => process.stderr.write(\`\${loaded} modules\`));`;
  const { code, stderr } = await packhouse(['repo', 'list'], {
    NODE_OPTIONS: `--import=data:text/javascript;base64,${Buffer.from(count).toString('base64')}`,
  });
  assert.equal(code, 0, stderr);
  const loaded = Number(/^(\d+) modules$/.exec(stderr)?.[1]);
  assert.ok(loaded > 100 && loaded < 300, stderr);
});

test('what the caller wrote wrong exits with 2, what failed with 1', async () => {
  const usage = [
    [],
    ['nonsense'],
    ['repo', 'create'],
    ['repo', 'create', 'noslash'],
    ['repo', 'create', '../evil'],
    ['repo', 'create', 'a/b/c'],
    ['repo', 'create', 'a/b', '--format', 'md5'],
    ['repo', 'list', '--odd'],
    ['repo', 'set-head', 'a/b'],
    ['repo', 'fork', 'a/b'],
    ['repo', 'fork', 'a/b', 'c/d', '--private', '--public'],
    ['token', 'create', 'x', '--expires', 'soon'],
    ['repo', 'list', '--config', '/nowhere.yaml'],
    ['serve', '--http-listen', '0.0.0.0:0'],
  ];
  for (const args of usage) assert.equal((await packhouse(args)).code, 2, args.join(' '));
  assert.match(
    (await packhouse(['serve', '--http-listen', '0.0.0.0:0'])).stderr,
    /^packhouse: --http-listen: http\.listen: refusing/,
  );
  const missing = await packhouse(['repo', 'show', 'nobody/nothing']);
  assert.equal(missing.code, 1);
  assert.equal(missing.stderr, 'packhouse: no repository nobody/nothing\n');
  assert.equal(missing.stdout, '');
});

test('repositories from creation to deletion', async () => {
  const created = (await json(['repo', 'create', 'alice/demo.git', '--private'])) as Record<string, unknown>;
  assert.deepEqual(
    { ...created, created_at: 'then' },
    {
      repository: 'alice/demo',
      format: 'sha1',
      head: null,
      visibility: 'private',
      created_at: 'then',
    },
  );
  const again = await packhouse(['repo', 'create', 'alice/demo']);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /exists already/);
  await json(['repo', 'create', 'bob/other', '--format', 'sha256']);

  const list = (await json(['repo', 'list'])) as { repository: string }[];
  assert.deepEqual(
    list.map((row) => row.repository),
    ['alice/demo', 'bob/other'],
  );
  assert.equal(((await json(['repo', 'list', '--owner', 'bob'])) as unknown[]).length, 1);
  const text = await packhouse(['repo', 'list'], { NO_COLOR: '1' });
  assert.match(text.stdout, /^REPOSITORY +FORMAT +VISIBILITY +CREATED\nalice\/demo +sha1 +private +\d{4}-/);

  const head = (await json(['repo', 'set-head', 'alice/demo', 'zweig-ü'])) as Record<string, unknown>;
  assert.equal(head.head, 'refs/heads/zweig-ü');
  assert.equal(((await json(['repo', 'set-head', 'alice/demo', '--auto'])) as Record<string, unknown>).head, null);
  const open = (await json(['repo', 'visibility', 'alice/demo', 'public'])) as Record<string, unknown>;
  assert.equal(open.visibility, 'public');

  const renamed = (await json(['repo', 'rename', 'alice/demo', 'bob/demo'])) as Record<string, unknown>;
  assert.equal(renamed.repository, 'bob/demo');
  assert.equal((await packhouse(['repo', 'rename', 'bob/demo', 'bob/other'])).code, 1);
  assert.equal((await packhouse(['repo', 'delete', 'bob/demo'])).stdout, 'deleted bob/demo\n');
  assert.equal((await packhouse(['repo', 'show', 'bob/demo'])).code, 1);
  assert.equal((await packhouse(['repo', 'delete', 'bob/demo'])).code, 1);
});

test('forks', async () => {
  await json(['repo', 'create', 'carol/secret', '--private']);
  const fork = (await json(['repo', 'fork', 'carol/secret', 'dave/mine'])) as Record<string, unknown>;
  assert.deepEqual([fork.repository, fork.visibility], ['dave/mine', 'private']);
  const open = await packhouse(['repo', 'fork', 'carol/secret', 'dave/open', '--public']);
  assert.equal(open.stdout, 'forked carol/secret to dave/open, public\n');
  assert.equal((await packhouse(['repo', 'fork', 'carol/secret', 'dave/open'])).code, 1);
  for (const name of ['carol/secret', 'dave/mine', 'dave/open']) await json(['repo', 'delete', name]);
});

test('tokens from creation to revocation', async () => {
  const args = ['token', 'create', 'ci', '--scope', 'write', '--repository', 'alice/demo', '--expires', '90d'];
  const created = (await json(args)) as Record<string, unknown>;
  assert.match(String(created.token), /^pkh_[0-9A-Za-z]{40}$/);
  assert.equal(created.limit, 'alice/demo');
  const [listed] = (await json(['token', 'list'])) as Record<string, unknown>[];
  assert.equal(listed?.state, 'in force');
  assert.ok(!('token' in (listed ?? {})));
  assert.equal((await packhouse(args)).code, 1, 'the name is taken');
  assert.match(
    (await packhouse(['token', 'create', 'plain'])).stdout,
    /^pkh_[0-9A-Za-z]{40}\n$/,
    'the token alone, for a script',
  );
  assert.equal((await packhouse(['token', 'revoke', 'ci'])).code, 0);
  assert.equal((await packhouse(['token', 'revoke', 'ci'])).code, 1);
  const all = (await json(['token', 'list', '--all'])) as Record<string, unknown>[];
  assert.deepEqual(
    all.map((row) => row.state),
    ['revoked', 'in force'],
  );
});

test('config print --effective: flags, environment, the file of the working folder, defaults; no secret', async () => {
  writeFileSync(join(folder, 'config.yaml'), 'log:\n  level: error\n');
  try {
    const env = { PACKHOUSE_FETCH_MAX_DURATION: '5m' };
    const rows = (await json(['config', 'print', '--effective', '--http-listen', '127.0.0.1:9'], env)) as Record<
      string,
      unknown
    >[];
    const row = (key: string) => rows.find((candidate) => candidate.key === key);
    assert.deepEqual([row('http.listen')?.value, row('http.listen')?.source], ['127.0.0.1:9', '--http-listen']);
    assert.deepEqual(
      [row('fetch.max_duration')?.value, row('fetch.max_duration')?.source],
      ['5m', 'PACKHOUSE_FETCH_MAX_DURATION'],
    );
    assert.deepEqual([row('log.level')?.value, row('log.level')?.source], ['error', 'config.yaml:2']);
    assert.equal(row('store.kind')?.source, 'default');
    assert.ok(!JSON.stringify(rows).includes(new URL(database.url).password));
    assert.match((await packhouse(['config', 'print'])).stdout, /^http\.listen +127\.0\.0\.1:8080 +default$/m);
  } finally {
    rmSync(join(folder, 'config.yaml'));
  }
});

test('a database without the schema is met with what to do, and migrate does it', async () => {
  const url = database.url.replace(/[^/]*$/, 'postgres');
  const before = await packhouse(['repo', 'list'], { PACKHOUSE_DATABASE_URL: url });
  assert.equal(before.code, 1);
  assert.match(before.stderr, /packhouse migrate/);
  assert.deepEqual(await json(['migrate']), { applied: [] });
  assert.equal((await packhouse(['repo', 'list'], { PACKHOUSE_DATABASE_URL: 'postgres://127.0.0.1:1/x' })).code, 1);
});

test('verbs start the embedded PostgreSQL for themselves, and join the one that runs', async () => {
  const dataDir = join(folder, 'data');
  const env = { PACKHOUSE_DATABASE_URL: '', PACKHOUSE_DATA_DIR: dataDir };
  await json(['repo', 'create', 'alice/alone'], env);
  assert.equal(findRunningEmbedded(dataDir), null, 'it is stopped again');
  const server = await startEmbeddedPostgres({ dataDir, log: createLogger('silent') });
  const list = (await json(['repo', 'list'], env)) as { repository: string }[];
  assert.deepEqual(
    list.map((row) => row.repository),
    ['alice/alone'],
  );
  assert.equal(findRunningEmbedded(dataDir), server.url, 'and left to who still uses it');
  await server.stop();
});

const hasPsql = spawnSync('psql', ['--version']).status === 0;
test('psql runs on the database in force and passes arguments and exit code', { skip: !hasPsql && 'no psql here' }, async () => {
  const ok = await packhouse(['psql', '--', '-At', '-c', 'select count(*) >= 0 from v_packs']);
  assert.deepEqual([ok.code, ok.stdout], [0, 't\n'], ok.stderr);
  assert.equal((await packhouse(['psql', '--', '-c', 'select oops'])).code, 1);
  const absent = await packhouse(['psql'], { PATH: '/nowhere' });
  assert.match(absent.stderr, /psql is not installed/);
});
