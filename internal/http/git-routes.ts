import { PackhouseError } from '../base/mod.ts';
import type { Admitted } from './admission.ts';
import { decodeBody, isGzip } from './decode-body.ts';
import type { Exchange } from './exchange.ts';
import type { Access, GitService, GitServiceName, Principal, RepositoryAddress, RequestContext } from './git-service.ts';
import { NO_CACHE } from './response.ts';
import { basicCredentials, parseGitTarget } from './target.ts';

/** Route names of metrics and logs. */
export type RouteName = 'info-refs' | 'upload-pack' | 'receive-pack' | 'refused' | 'page';

export interface RequestLimits {
  /** `limits.request_bytes_max`: a push. */
  readonly requestBytesMax: number;
  /** `limits.fetch_request_bytes_max`: a fetch, and any request that came compressed. */
  readonly fetchRequestBytesMax: number;
  /** `push.max_duration`. */
  readonly pushMsMax: number;
}

/** The longest that a timer of Node takes. */
const TIMER_MS_MAX = 2 ** 31 - 1;

const SERVICES: ReadonlySet<string> = new Set<GitServiceName>(['git-upload-pack', 'git-receive-pack']);

/**
 * Serves one git request, start to end; what it throws is a status or a cut connection in the caller's hands. The order of the
 * refusals is that of git's own server: method, service, media type; then who asks.
 */
export async function serveGit(
  exchange: Exchange,
  service: GitService,
  limits: RequestLimits,
  admitted: Admitted,
): Promise<void> {
  const { incoming } = exchange;
  const route = parseGitTarget(incoming.url ?? '');
  switch (route.kind) {
    case 'info-refs':
      return serveAdvertisement(exchange, service, route.address, route.service, admitted);
    case 'service':
      return servePack(exchange, service, route.address, route.service, limits, admitted);
    case 'closed':
      return exchange.refuse(403, 'only the smart protocol of git-upload-pack and git-receive-pack is served');
    case 'malformed':
      return exchange.refuse(400, 'the path is not valid');
    case 'unknown':
      return exchange.refuse(404, 'not found');
  }
}

/** The name under which a request to this target and method is counted. */
export function routeName(target: string): RouteName {
  const route = parseGitTarget(target);
  if (route.kind === 'info-refs') return 'info-refs';
  if (route.kind === 'service') return route.service === 'git-upload-pack' ? 'upload-pack' : 'receive-pack';
  return 'refused';
}

async function serveAdvertisement(
  exchange: Exchange,
  service: GitService,
  address: RepositoryAddress,
  asked: string | null,
  admitted: Admitted,
): Promise<void> {
  const { method } = exchange.incoming;
  if (method !== 'GET' && method !== 'HEAD') return exchange.refuse(405, 'method not allowed', { Allow: 'GET, HEAD' });
  if (asked === null) return exchange.refuse(403, 'the dumb protocol is not served; ask with ?service=');
  if (!isService(asked)) return exchange.refuse(403, 'the service is not offered');
  const context = await admit(exchange, service, address, asked, admitted);
  const body = await service.advertise(address, asked, context);
  await exchange.answer(200, { ...NO_CACHE, 'Content-Type': `application/x-${asked}-advertisement` }, [body]);
}

async function servePack(
  exchange: Exchange,
  service: GitService,
  address: RepositoryAddress,
  name: GitServiceName,
  limits: RequestLimits,
  admitted: Admitted,
): Promise<void> {
  const { headers, method } = exchange.incoming;
  if (method !== 'POST') return exchange.refuse(405, 'method not allowed', { Allow: 'POST' });
  const expected = `application/x-${name}-request`;
  if (headers['content-type'] !== expected) {
    return exchange.refuse(415, `expected POST with Content-Type '${expected}', but received '${headers['content-type'] ?? ''}'`);
  }
  const gzip = isGzip(headers['content-encoding']);
  const context = await admit(exchange, service, address, name, admitted);
  // Git compresses what it asks, never what it pushes. A compressed push could hold a thousand times its bytes of compressed objects.
  const bytesMax = name === 'git-receive-pack' && !gzip ? limits.requestBytesMax : limits.fetchRequestBytesMax;
  const body = decodeBody(exchange.body, { gzip, bytesMax, declared: exchange.declaredBytes });
  const sink = exchange.respond(`application/x-${name}-result`);
  if (name === 'git-upload-pack') await service.uploadPack(address, body, sink, context);
  else await withinTime(exchange, limits.pushMsMax, () => service.receivePack(address, body, sink, context));
  await sink.end();
}

/** Ends a push that takes too long: its body breaks off, its signal is aborted. */
async function withinTime(exchange: Exchange, msMax: number, work: () => Promise<void>): Promise<void> {
  const tooSlow = new PackhouseError('too-slow', `the push took longer than ${msMax} ms`, { limit_ms: msMax });
  const timer = setTimeout(() => exchange.abort(tooSlow), Math.min(msMax, TIMER_MS_MAX));
  try {
    await work();
  } finally {
    clearTimeout(timer);
  }
}

function isService(name: string): name is GitServiceName {
  return SERVICES.has(name);
}

async function admit(
  exchange: Exchange,
  service: GitService,
  address: RepositoryAddress,
  name: GitServiceName,
  admitted: Admitted,
): Promise<RequestContext> {
  const { headers } = exchange.incoming;
  const access: Access = name === 'git-receive-pack' ? 'write' : 'read';
  const principal: Principal = await service.authorize(basicCredentials(headers.authorization), address, access);
  if (principal.kind === 'token') admitted.token(principal.id);
  const gitProtocol = headers['git-protocol'];
  return {
    requestId: exchange.requestId,
    log: exchange.log,
    signal: exchange.signal,
    gitProtocol: typeof gitProtocol === 'string' ? gitProtocol : '',
    userAgent: headers['user-agent'] ?? '',
    principal,
  };
}
