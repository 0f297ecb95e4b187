import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { parseDocument } from 'yaml';
import { KEYS } from './keys.ts';
import { parseDurationMs, parseSizeBytes } from './kinds.ts';
import { CONFIG_KEYS, ConfigError, effectiveValues, environmentVariable, isLoopbackListen, loadConfig, maskUrl } from './mod.ts';

const folder = mkdtempSync(join(tmpdir(), 'packhouse-config-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function yamlFile(content: string): string {
  const path = join(folder, 'config.yaml');
  writeFileSync(path, content);
  return path;
}

function refusal(load: () => unknown): string {
  try {
    load();
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    assert.equal(error.code, 'config-invalid');
    return error.message;
  }
  return assert.fail('the configuration was accepted');
}

test('defaults alone make a whole configuration, in units that the names say', () => {
  const { config, sources } = loadConfig();
  assert.equal(config.http.listen, '127.0.0.1:8080');
  assert.equal(config.fetch.maxDurationMs, 3_600_000);
  assert.equal(config.sweep.retentionMs, 14 * 86_400_000);
  assert.equal(config.push.tailBytesMax, 1_048_576);
  assert.equal(config.limits.requestBytesMax, 16 * 2 ** 30);
  assert.equal(config.store.s3.pathStyle, true);
  assert.equal(config.fsck.severity.zeroPaddedFilemode, 'warn');
  assert.equal(sources['http.listen'].kind, 'default');
  assert.ok(Object.isFrozen(config.store.s3) && Object.isFrozen(config.fsck.severity));
});

test('config.yaml documents every key, with its default, under a comment', () => {
  const path = new URL('../../config.yaml', import.meta.url);
  const content = readFileSync(path, 'utf8');
  const document = parseDocument(content);
  for (const key of CONFIG_KEYS) {
    assert.deepEqual(toPlain(document.getIn(key.split('.'))), KEYS[key].default, key);
    const name = key.split('.').at(-1);
    assert.match(content, new RegExp(`# [^\\n]+\\n *${name}:`), `${key} has no comment above it`);
  }
  const loaded = loadConfig({ path: path.pathname });
  assert.deepEqual(loaded.config, loadConfig().config);
  assert.ok(Object.values(loaded.sources).every((source) => source.kind === 'file'));
  assert.ok(CONFIG_KEYS.length >= 30);
});

function toPlain(value: unknown): unknown {
  return value !== null && typeof value === 'object' && 'toJSON' in value ? (value.toJSON as () => unknown)() : value;
}

test('flags win over the environment, the environment over the file, the file over defaults', () => {
  const path = yamlFile('log:\n  level: warn\nhttp:\n  listen: 127.0.0.1:1\n  idle_timeout: 5s\ndata:\n  dir: /from-file\n');
  const { config, sources } = loadConfig({
    path,
    env: { PACKHOUSE_HTTP_LISTEN: '127.0.0.1:2', PACKHOUSE_DATA_DIR: '/from-env', HOME: '/root' },
    flags: { 'http.listen': '127.0.0.1:3', 'log.level': undefined },
  });
  assert.equal(config.http.listen, '127.0.0.1:3');
  assert.equal(config.data.dir, '/from-env');
  assert.equal(config.log.level, 'warn');
  assert.equal(config.http.idleTimeoutMs, 5000);
  assert.deepEqual(sources['log.level'], { kind: 'file', where: `${path}:2` });
  assert.deepEqual(sources['data.dir'], { kind: 'environment', where: 'PACKHOUSE_DATA_DIR' });
  assert.deepEqual(sources['http.listen'], { kind: 'flag', where: '--http-listen' });
  assert.equal(sources['http.drain_timeout'].kind, 'default');
});

test('a section or a file with nothing in it is accepted', () => {
  assert.deepEqual(loadConfig({ path: yamlFile('') }).config, loadConfig().config);
  assert.deepEqual(loadConfig({ path: yamlFile('http:\n#  listen: x\nstore:\n  s3:\n') }).config, loadConfig().config);
});

test('an unknown key is refused with file, line and the nearest known key', () => {
  const path = yamlFile('http:\n  listen: 127.0.0.1:1\nlimits:\n  request_byte_max: 1GiB\n');
  assert.equal(
    refusal(() => loadConfig({ path })),
    `${path}:4: unknown key 'limits.request_byte_max'; did you mean 'limits.request_bytes_max'?`,
  );
  assert.match(
    refusal(() => loadConfig({ path: yamlFile('htp:\n  listen: x\n') })),
    /:1: unknown key 'htp'; did you mean 'http'\?/,
  );
  assert.match(
    refusal(() => loadConfig({ path: yamlFile('completely_different: 1\n') })),
    /:1: unknown key 'completely_different'$/,
  );
  assert.match(
    refusal(() => loadConfig({ path: yamlFile('__proto__: 1\n') })),
    /unknown key '__proto__'/,
  );
});

test('a wrong type is refused where it was written', () => {
  const wrong = (content: string): string => refusal(() => loadConfig({ path: yamlFile(content) }));
  assert.match(wrong('database:\n  pool_max: "16"\n'), /config\.yaml:2: database\.pool_max: .*number/);
  assert.match(wrong('database:\n  pool_max: 0\n'), /:2: database\.pool_max: /);
  assert.match(wrong('\nhttp:\n  idle_timeout: 60\n'), /:3: http\.idle_timeout: expected a duration such as/);
  assert.match(wrong('http:\n  idle_timeout: 60 seconds\n'), /expected a duration .* not '60 seconds'/);
  assert.match(wrong('push:\n  tail_bytes_max: 1MB\n'), /expected a size .* not '1MB'/);
  assert.match(wrong('push:\n  create_repository: "yes"\n'), /:2: push\.create_repository: .*boolean/);
  assert.match(wrong('store:\n  kind: swift\n'), /:2: store\.kind: .*"fs"\|"s3"/);
  assert.match(wrong('http: 5\n'), /:1: http: expected keys and values below it/);
  assert.match(wrong('- a\n'), /:1: expected keys and values/);
  assert.match(wrong('log:\n  level: info\n  level: warn\n'), /:3: .*unique/i);
  assert.match(wrong('log: [\n'), /:\d: /);
  assert.match(wrong('http:\n  listen:\n'), /:2: http\.listen: /);
  assert.match(
    refusal(() => loadConfig({ path: '/nowhere/config.yaml' })),
    /\/nowhere\/config\.yaml: cannot read/,
  );
});

test('a span or rate that would mean work without a pause, or none, is refused; so is one that no timer holds', () => {
  const said = (flags: Record<string, string>): string => refusal(() => loadConfig({ flags }));
  for (const key of [
    'http.idle_timeout',
    'database.statement_timeout',
    'push.max_duration',
    'fetch.max_duration',
    'maintenance.interval',
    'maintenance.lease',
    'sweep.interval',
  ])
    assert.match(said({ [key]: '0s' }), new RegExp(`${key}: expected \\d+m?s at least and .* at most, not '0s'`));
  assert.match(said({ 'maintenance.bytes_per_second_max': '0' }), /expected 1KiB at least, not '0'/);
  for (const key of ['http.drain_delay', 'http.drain_timeout', 'fetch.max_duration', 'snapshot.interval'])
    assert.match(said({ [key]: '30d' }), /at least and 24d at most, not '30d'/);
  const { config } = loadConfig({ flags: { 'snapshot.interval': '0s', 'sweep.retention': '90d', 'sweep.interval': '30d' } });
  assert.equal(config.sweep.retentionMs, 90 * 86_400_000);
});

test('a broken value is refused even when a stronger layer hides it', () => {
  const path = yamlFile('log:\n  level: loud\n');
  assert.match(
    refusal(() => loadConfig({ path, flags: { 'log.level': 'info' } })),
    /:2: log\.level/,
  );
});

test('the environment reaches every key and converts text by type', () => {
  const env = {
    PACKHOUSE_DATABASE_POOL_MAX: '4',
    PACKHOUSE_PUSH_TAIL_BYTES_MAX: '4096',
    PACKHOUSE_STORE_S3_PATH_STYLE: 'false',
    PACKHOUSE_FSCK_SEVERITY: '{badDate: error, nullSha1: ignore}',
  };
  const { config } = loadConfig({ env });
  assert.equal(config.database.poolMax, 4);
  assert.equal(config.push.tailBytesMax, 4096);
  assert.equal(config.store.s3.pathStyle, false);
  assert.equal(config.fsck.severity.nullSha1, 'ignore');
  assert.equal(config.fsck.severity.badTimezone, 'warn', 'what is not named keeps its default');
  assert.equal(environmentVariable('store.s3.secret_access_key'), 'PACKHOUSE_STORE_S3_SECRET_ACCESS_KEY');
  assert.equal(new Set(CONFIG_KEYS.map(environmentVariable)).size, CONFIG_KEYS.length);
  assert.match(
    refusal(() => loadConfig({ env: { PACKHOUSE_DATABASE_POOL_MAX: 'many' } })),
    /^PACKHOUSE_DATABASE_POOL_MAX: database/,
  );
  assert.match(
    refusal(() => loadConfig({ env: { PACKHOUSE_HTTP_LISTN: 'x' } })),
    /unknown variable 'PACKHOUSE_HTTP_LISTN'; did you mean 'PACKHOUSE_HTTP_LISTEN'\?/,
  );
  assert.doesNotThrow(() => loadConfig({ env: { PACKHOUSE_SOMETHING_ELSE: 'x' } }));
});

test('a flag for an unknown key is refused with the nearest one', () => {
  assert.match(
    refusal(() => loadConfig({ flags: { 'http.lisen': 'x' } })),
    /unknown key 'http\.lisen'; did you mean 'http\.listen'\?/,
  );
});

test('secrets are read from the file that a _FILE variable names, and from one place only', () => {
  const path = join(folder, 'secret');
  writeFileSync(path, 'postgres://u:p@db/packhouse\n');
  const { config, sources } = loadConfig({ env: { PACKHOUSE_DATABASE_URL_FILE: path } });
  assert.equal(config.database.url, 'postgres://u:p@db/packhouse');
  assert.equal(sources['database.url'].where, 'PACKHOUSE_DATABASE_URL_FILE');
  const both = { PACKHOUSE_DATABASE_URL_FILE: path, PACKHOUSE_DATABASE_URL: 'postgres://x/y' };
  assert.match(
    refusal(() => loadConfig({ env: both })),
    /both/,
  );
  assert.match(
    refusal(() => loadConfig({ env: { PACKHOUSE_DATABASE_URL_FILE: '/nowhere' } })),
    /cannot read the secret/,
  );
  assert.match(
    refusal(() => loadConfig({ env: { PACKHOUSE_LOG_LEVEL_FILE: path } })),
    /unknown variable/,
  );
});

test('fsck ids that are unknown, or stay errors whatever is said, are refused', () => {
  const path = yamlFile('fsck:\n  severity:\n    badTimezon: warn\n');
  assert.match(
    refusal(() => loadConfig({ path })),
    /unknown name 'badTimezon'; did you mean 'badTimezone'\?/,
  );
  const fatal = yamlFile('fsck:\n  severity:\n    badTree: warn\n');
  assert.match(
    refusal(() => loadConfig({ path: fatal })),
    /:2: fsck\.severity\.badTree: unknown name/,
    'links that cannot be read',
  );
});

test('failpoints are refused where a server could be a real one', () => {
  const env = { PACKHOUSE_FAILPOINTS: 'push.after-commit=kill' };
  loadConfig({ env, flags: { 'http.listen': '127.0.0.1:1' } });
  for (const flags of [{ 'auth.mode': 'token' }, { 'auth.mode': 'token', 'http.listen': '0.0.0.0:8080' }]) {
    loadConfig({ flags });
    assert.match(
      refusal(() => loadConfig({ env, flags })),
      /PACKHOUSE_FAILPOINTS: failpoints are for tests/,
    );
  }
});

test('listening beyond loopback without authentication is refused', () => {
  for (const listen of ['0.0.0.0:8080', '[::]:8080', '192.168.1.4:80', 'example.org:80', '128.0.0.1:1', '127.0.0.1.nip.io:80']) {
    assert.match(
      refusal(() => loadConfig({ flags: { 'http.listen': listen } })),
      /refusing to listen/,
      listen,
    );
    loadConfig({ flags: { 'http.listen': listen, 'auth.mode': 'token' } });
  }
  for (const listen of ['127.0.0.1:0', '127.9.9.9:65535', '[::1]:8080', 'localhost:8080']) {
    assert.ok(isLoopbackListen(listen), listen);
    loadConfig({ flags: { 'http.listen': listen } });
  }
  for (const listen of ['8080', '127.0.0.1', '127.0.0.1:65536', '::1:80', '']) {
    assert.match(
      refusal(() => loadConfig({ flags: { 'http.listen': listen, 'auth.mode': 'token' } })),
      /expected/,
      listen,
    );
  }
});

test('an s3 store needs an endpoint, and keys come in pairs', () => {
  assert.match(
    refusal(() => loadConfig({ flags: { 'store.kind': 's3' } })),
    /store\.s3\.endpoint: must be set/,
  );
  const flags = { 'store.kind': 's3', 'store.s3.endpoint': 'http://127.0.0.1:8000', 'store.s3.access_key_id': 'a' };
  assert.match(
    refusal(() => loadConfig({ flags })),
    /store\.s3\.secret_access_key: must be set together/,
  );
});

test('packs by URL need an s3 store, and URLs that end before what they show is deleted', () => {
  const s3 = { 'store.kind': 's3', 'store.s3.endpoint': 'http://127.0.0.1:8000' };
  const refused = (flags: Record<string, string>): string =>
    refusal(() => loadConfig({ flags: { 'fetch.packfile_uris': 'true', ...flags } }));
  assert.match(refused({}), /fetch\.packfile_uris: needs store\.kind 's3'/);
  assert.match(refused({ ...s3, 'fetch.packfile_uris_life': '2h' }), /fetch\.packfile_uris_life: expected/);
  assert.match(refused({ ...s3, 'fetch.packfile_uris_life': '500ms' }), /fetch\.packfile_uris_life: expected/);
  assert.equal(loadConfig({ flags: { ...s3, 'fetch.packfile_uris': 'true' } }).config.fetch.packfileUris, true);
});

test('what is printed shows sources and no secret', () => {
  const env = { PACKHOUSE_STORE_S3_SECRET_ACCESS_KEY: 'hunter2', PACKHOUSE_STORE_S3_ACCESS_KEY_ID: 'key' };
  const loaded = loadConfig({ env, flags: { 'database.url': 'postgres://minerva:hunter2@db:5432/packhouse' } });
  const rows = effectiveValues(loaded);
  assert.equal(rows.length, CONFIG_KEYS.length);
  assert.ok(!JSON.stringify(rows).includes('hunter2'));
  const row = rows.find((candidate) => candidate.key === 'store.s3.secret_access_key');
  assert.equal(row?.value, '********');
  assert.equal(row?.source, 'PACKHOUSE_STORE_S3_SECRET_ACCESS_KEY');
  assert.equal(
    rows.find((candidate) => candidate.key === 'database.url')?.value,
    'postgres://minerva:********@db:5432/packhouse',
  );
  assert.equal(effectiveValues(loadConfig()).find((candidate) => candidate.key === 'database.url')?.value, '');
});

test('an alias of nothing, aliases without end and tags that nobody knows are refused where they stand', () => {
  const inFile = (content: string): string => refusal(() => loadConfig({ path: yamlFile(content) }));
  assert.match(inFile('log: *nothing\n'), /config\.yaml:1: log: Unresolved alias/);
  assert.match(inFile('http:\n  listen: *nothing\n'), /config\.yaml:2: http\.listen: Unresolved alias/);
  const doubled = Array.from({ length: 30 }, (_, i) => `      - &a${i + 1} [*a${i}, *a${i}]\n`).join('');
  assert.match(
    inFile(`fsck:\n  severity:\n    badDate:\n      - &a0 [x, x]\n${doubled}`),
    /config\.yaml:2: fsck\.severity: Excessive alias count/,
  );
  assert.match(
    refusal(() => loadConfig({ env: { PACKHOUSE_FSCK_SEVERITY: '{badDate: !odd warn}' } })),
    /^PACKHOUSE_FSCK_SEVERITY: fsck\.severity: Unresolved tag/,
  );
});

test('a password is masked wherever a URL carries it', () => {
  const password = fc.stringMatching(/^[a-zA-Z0-9@:%!$]{8,20}$/);
  fc.assert(
    fc.property(password, (secret) => {
      assert.ok(!maskUrl(`postgres://user:${secret}@host:5432/db`).includes(secret));
      assert.ok(!maskUrl(`postgres://host/db?user=u&password=${secret}&sslmode=disable`).includes(secret));
    }),
  );
});

test('durations and sizes read back what they write', () => {
  fc.assert(
    fc.property(fc.nat(), (n) => {
      assert.equal(parseDurationMs(`${n}s`), n * 1000);
      assert.equal(parseSizeBytes(n), n);
      assert.equal(parseSizeBytes(`${n}KiB`), n * 1024);
    }),
  );
  assert.equal(parseDurationMs('1.5h'), 5_400_000);
  assert.equal(parseSizeBytes('1.5 GiB'), 1.5 * 2 ** 30);
  for (const bad of ['', '5', '5 s', '-5s', '5y', 'm', '9999999999999999d']) assert.equal(parseDurationMs(bad), undefined, bad);
  for (const bad of ['', '5MB', '-5', '5 mib', 'KiB', '1e3', '99999999TiB']) assert.equal(parseSizeBytes(bad), undefined, bad);
});
