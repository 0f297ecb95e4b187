import { z } from 'zod';
import { DEFAULT_SEVERITIES, type FsckId, STRICT_SEVERITIES, severitiesWith } from '../object/mod.ts';
import { choice, count, duration, flag, type KeyDefinition, secret, size, text, wordMap } from './kinds.ts';

const listenAddress = z
  .string()
  .regex(/^(\[[0-9a-fA-F:.%]+\]|[^[\]:\s]+):(\d{1,5})$/, "expected host:port, such as '127.0.0.1:8080' or '[::1]:8080'")
  .refine((value) => Number(value.slice(value.lastIndexOf(':') + 1)) <= 65_535, 'expected a port of 65535 at most');

const databaseUrl = z
  .string()
  .regex(/^$|^postgres(ql)?:\/\//, "expected a URL such as 'postgres://user:password@host:5432/packhouse', or nothing");

const endpoint = z.string().regex(/^$|^https?:\/\/\S+$/, "expected a URL such as 'http://127.0.0.1:8000', or nothing");

const FSCK_IDS = Object.keys(STRICT_SEVERITIES) as FsckId[];

/** Ids that an operator may weigh otherwise. A few stay errors whatever is said: the object's links could not be read. */
const SOFTENABLE_IDS: ReadonlySet<string> = new Set(FSCK_IDS.filter((id) => severitiesWith({ [id]: 'ignore' })[id] === 'ignore'));

/** What the object room takes from old histories although `git fsck --strict` does not. */
const RELAXED_SEVERITIES = Object.fromEntries(
  FSCK_IDS.filter((id) => DEFAULT_SEVERITIES[id] !== STRICT_SEVERITIES[id]).map((id) => [id, DEFAULT_SEVERITIES[id]]),
) as Readonly<Record<string, 'error' | 'warn' | 'ignore'>>;

/** Of spans that a process waits for: its timers hold 31 bits of milliseconds, and longer ones go off at once. */
const TIMER = { atMost: '24d' } as const;

/**
 * Every key there is, in the order in which config.yaml tells them. To add one: add it here and to config.yaml (a test compares
 * the two). The typed object, the environment variable, the flag and the printed form follow from the entry.
 */
export const KEYS = {
  'http.listen': text('127.0.0.1:8080', 'Address and port to listen on.', listenAddress),
  'http.idle_timeout': duration('60s', 'A connection on which nothing moves for this long is closed.', {
    ...TIMER,
    atLeast: '100ms',
  }),
  'http.drain_delay': duration('0s', 'After SIGTERM, how long requests are still taken while /readyz says 503.', TIMER),
  'http.drain_timeout': duration('30s', 'After that, how long running requests may still take.', TIMER),
  'http.forwarded_header': text(
    '',
    'Header that a proxy in front appends client addresses to, such as X-Forwarded-For; its last address is the client.',
    z.string().regex(/^[A-Za-z0-9-]*$/, "expected the name of a header, such as 'X-Forwarded-For', or nothing"),
  ),
  'http.session_id': flag(
    false,
    "Advertise a session id, so that clients' traces can be matched with the log (git's transfer.advertiseSID).",
  ),
  'http.drain_bytes_max': size('64MiB', 'Bytes of a refused request body that are read so that the client sees the reason.'),

  'data.dir': text('./data', 'Folder for the embedded PostgreSQL and for packs of the fs store.', z.string().min(1)),

  'database.url': secret('url', 'PostgreSQL to use; empty starts the embedded one under data.dir.', databaseUrl),
  'database.pool_max': count(16, 'Connections that one process opens at most.'),
  'database.statement_timeout': duration(
    '60s',
    'PostgreSQL cancels a statement that runs longer, and ends a transaction that hears nothing for as long.',
    {
      ...TIMER,
      atLeast: '100ms',
    },
  ),

  'store.kind': choice(['fs', 's3'], 'fs', 'Where packs are kept: a local folder (fs) or an object store (s3).'),
  'store.s3.endpoint': text('', 'URL of the object store.', endpoint),
  'store.s3.public_endpoint': text(
    '',
    'The same as clients reach it, for fetch.packfile_uris; empty: store.s3.endpoint.',
    endpoint,
  ),
  'store.s3.region': text('us-east-1', 'Region that requests are signed for.', z.string().min(1)),
  'store.s3.bucket': text('packhouse', 'Bucket that holds the packs.', z.string().min(1)),
  'store.s3.access_key_id': text('', "Access key; empty takes the SDK's usual sources."),
  'store.s3.secret_access_key': secret('value', 'Secret that belongs to the access key.'),
  'store.s3.path_style': flag(true, 'Bucket in the path of the URL instead of in the host name (Ceph RGW wants the path).'),
  'store.s3.idle_timeout': duration('30s', 'A request on whose connection nothing moves for this long is tried again.', TIMER),
  'store.s3.create_bucket': flag(true, 'Create the bucket at start when it is missing.'),

  'log.level': choice(['debug', 'info', 'warn', 'error', 'silent'], 'info', 'The least severe messages that are written.'),

  'auth.mode': choice(['none', 'token'], 'none', 'none: everybody may do everything, on loopback only; token: access tokens.'),
  'auth.anonymous_read': flag(true, 'With auth.mode token: public repositories may be read without a token.'),

  'push.tail_bytes_max': size('1MiB', 'A pack up to this size is kept in PostgreSQL until it is sealed.'),
  'push.memory_bytes_max': size('2MiB', 'Bytes of an incoming pack that stay in memory; more spools to a temporary file.'),
  'push.sha1_collision_detection': flag(true, 'Refuse objects whose bytes are of a SHA-1 collision attack.'),
  'push.warm_up': flag(true, 'Soon after the start, prepare for pushes: connections, plans, compiled code.'),
  'push.create_repository': flag(true, 'The first push to a name creates the repository.'),
  'push.max_duration': duration('12h', 'The longest a push may take.', { ...TIMER, atLeast: '1s' }),

  'refs.hidden': text('', 'Prefixes of refs, separated by spaces, that are neither shown nor taken.', z.string()),

  'fetch.max_duration': duration('1h', 'The longest a fetch may take; nothing that it may read is deleted before.', {
    ...TIMER,
    atLeast: '1s',
  }),
  'fetch.bitmap_commits_min': count(200, 'A fetch of fewer commits compares trees instead of asking reachability bitmaps.'),
  'fetch.serve_log_values': flag(true, 'Serve wants by oid of what refs pointed at before, while that is retained.'),
  'fetch.packfile_uris': flag(false, 'Clients that ask for it get whole packs from the object store itself, by signed URLs.'),
  'fetch.packfile_uris_life': duration('5m', 'How long such a URL can be used, by whoever has it; fetch.max_duration at most.'),
  'fetch.packfile_uris_bytes_min': size('1MiB', 'Smaller packs come in the answer.'),

  'cache.bytes_max': size('176MiB', 'Memory for cached pack ranges (a quarter), indexes and commit graphs.'),
  'cache.answer_bytes_max': size(
    '32MiB',
    'Memory for how packs were put together that were sent lately, to send them again; 0 for none.',
  ),
  'cache.expanded_bytes_max': size(
    '16MiB',
    'Memory for objects that answers compressed anew, for the next that have them; 0 for none.',
  ),
  'cache.disk_bytes_max': size(
    '4GiB',
    'With store.kind s3: disk for pack ranges under data.dir, half of what is free there at most, gone with the process; 0 for none.',
  ),

  'limits.request_bytes_max': size(
    '16GiB',
    'A push: bytes of its body; of a compressed one limits.fetch_request_bytes_max, decoded.',
  ),
  'limits.fetch_request_bytes_max': size('64MiB', 'A fetch: bytes of its request after decoding.'),
  'limits.pack_objects_max': count(20_000_000, 'Objects in one pushed pack.'),
  'limits.object_bytes_max': size('5GiB', 'Bytes of one object.'),
  'limits.tree_bytes_max': size('64MiB', 'Bytes of one tree.'),
  'limits.commit_bytes_max': size('64MiB', 'Bytes of one commit or tag.'),
  'limits.delta_depth_max': count(4096, 'Deltas on top of each other in a pushed pack.'),
  'limits.large_blob_bytes_max': size(
    '16GiB',
    'Bytes of blobs of chunking.threshold and more that deltas of one push may make, besides 1000 for each byte of its pack.',
  ),
  'limits.refs_per_push_max': count(100_000, 'Ref updates in one push.'),
  'limits.refs_per_repository_max': count(250_000, 'Refs that one repository may have.'),
  'limits.wants_max': count(100_000, 'Wants in one fetch.'),
  'limits.haves_max': count(1_000_000, 'Haves in one fetch.'),
  'limits.ref_name_bytes_max': count(1024, 'Bytes of one ref name.'),
  'limits.push_memory_bytes_max': size('256MiB', 'Memory that pushes too large to be worked on at once may take together.'),
  'limits.pushes_waiting_max': count(64, 'Large pushes that wait for such memory at a time; more are told to come back.'),
  'limits.fetch_memory_bytes_max': size(
    '48MiB',
    'Memory for what all answers read ahead, and as much for large choices of objects.',
  ),
  'limits.fetches_waiting_max': count(64, 'Fetches that wait for such memory at a time; more are told to come back.'),
  'limits.concurrent_requests_max': count(256, 'Requests served at a time; more are told to come back.'),
  'limits.requests_per_address_max': count(128, 'Requests of one address served at a time; of IPv6 the first 64 bits count.'),
  'limits.requests_per_token_max': count(128, 'Requests with one access token served at a time.'),

  'fsck.severity': wordMap(
    SOFTENABLE_IDS,
    ['error', 'warn', 'ignore'],
    RELAXED_SEVERITIES,
    "Object checks that differ from `git fsck --strict`, by git's message id (error, warn or ignore); laid over these defaults.",
  ),

  'chunking.threshold': size('16MiB', 'Blobs of this size and more are kept as content-defined chunks.'),
  'chunking.min': size('16KiB', 'The smallest chunk but for the last of a blob.'),
  'chunking.avg': size('64KiB', 'What chunks come to on average: a power of two.'),
  'chunking.max': size('256KiB', 'The largest chunk.'),

  'maintenance.enabled': flag(true, 'This process seals, compacts, sweeps and writes snapshots beside serving.'),
  'maintenance.interval': duration('30s', 'How often a process looks for maintenance to do.', { ...TIMER, atLeast: '10ms' }),
  'maintenance.bytes_per_second_max': size(
    '64MiB',
    'Bytes that maintenance of one process reads and writes in a second at most.',
    '1KiB',
  ),
  'maintenance.bitmap_objects_min': count(1000, 'Packs of fewer objects get no reachability bitmaps.'),
  'maintenance.lease': duration('1m', 'How long work that a killed process had begun stays its own; renewed meanwhile.', {
    ...TIMER,
    atLeast: '100ms',
  }),
  'maintenance.reader_margin': duration('10m', 'How much longer than the longest fetch replaced packs are kept.'),
  'maintenance.upload_lease': duration('1d', 'An upload that is not published by then is given up and removed.'),

  'tail.pool_bytes_max': size('64MiB', 'A pool with more in its tail takes further pushes straight to the store.'),
  'tail.bytes_max': size('4GiB', 'The same for the tails of all pools together.'),

  'seal.bytes': size('8MiB', "A pool's tail is sealed once it holds this much."),
  'seal.packs': count(500, "A pool's tail is sealed once it holds this many packs."),
  'seal.age': duration('10m', "A pool's tail is sealed once its oldest pack is this old."),
  'seal.crate_bytes': size('64MiB', 'Packs are laid together into bucket objects of this size and more.'),

  'compaction.ratio': count(2, 'Each pack of a pool is to be this many times larger than all smaller ones together.'),
  'compaction.pack_bytes_max': size('4GiB', 'Packs larger than this are not compacted again.'),
  'compaction.dead_percent': count(30, 'A crate or chunk pack more than this part of which nothing uses is written again.'),
  'compaction.window': count(10, 'Objects that each object is compared with when deltas are searched.'),
  'compaction.depth': count(50, 'Deltas on top of each other in packs that maintenance writes.'),
  'compaction.window_memory': size('64MiB', 'Memory for the objects of one window.'),

  'sweep.interval': duration('1d', 'How often a pool is searched for what no ref reaches.', { atLeast: '10ms' }),
  'sweep.condemned_percent_max': count(50, 'A sweep that would condemn more of a pool than this asks for --yes.'),
  'sweep.retention': duration('14d', 'How long what no ref reaches any more, and deleted repositories, are kept.'),

  'snapshot.interval': duration('5m', 'How often the catalog is written to the store for `packhouse rebuild`; 0s: never.', TIMER),
} as const satisfies Readonly<Record<string, KeyDefinition<unknown, string>>>;

export type ConfigKey = keyof typeof KEYS;

/** Every key's dotted name, in order. */
export const CONFIG_KEYS = Object.keys(KEYS) as readonly ConfigKey[];

type Camel<S extends string> = S extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}` : S;
type Nest<Path extends string, T> = Path extends `${infer Head}.${infer Tail}`
  ? { readonly [P in Camel<Head>]: Nest<Tail, T> }
  : { readonly [P in Camel<Path>]: T };
type Leaf<K extends ConfigKey> = (typeof KEYS)[K] extends KeyDefinition<infer T, infer Suffix> ? Nest<`${K}${Suffix}`, T> : never;
type Intersection<U> = (U extends unknown ? (value: U) => void : never) extends (value: infer I) => void ? I : never;
type Flatten<T> = T extends string | number | boolean | Readonly<Record<string, 'error' | 'warn' | 'ignore'>>
  ? T
  : { readonly [P in keyof T]: Flatten<T[P]> };

/**
 * The whole configuration, frozen. YAML's `limits.request_bytes_max` is `config.limits.requestBytesMax` (bytes); durations are in
 * milliseconds and say so: `fetch.max_duration` is `config.fetch.maxDurationMs`.
 */
export type Config = Flatten<Intersection<{ [K in ConfigKey]: Leaf<K> }[ConfigKey]>>;
