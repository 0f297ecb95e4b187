import type { Credentials, GitServiceName, RepositoryAddress } from './git-service.ts';

/** What a request target names below a repository. `closed` is a path of git's dumb protocol or of a service not offered here. */
export type GitRoute =
  | { readonly kind: 'info-refs'; readonly address: RepositoryAddress; readonly service: string | null }
  | { readonly kind: 'service'; readonly address: RepositoryAddress; readonly service: GitServiceName }
  | { readonly kind: 'closed' }
  | { readonly kind: 'malformed' }
  | { readonly kind: 'unknown' };

const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$/;
const UNKNOWN: GitRoute = { kind: 'unknown' };

/** The path of a request target without its query, absolute form (`http://host/path`) included. */
export function pathOf(target: string): string {
  const path = target.replace(/^https?:\/\/[^/?#]*/i, '');
  const end = path.search(/[?#]/);
  return end < 0 ? path : path.slice(0, end);
}

/**
 * Reads a raw request target. It is split at slashes first and each segment percent-decoded once, so an encoded slash or dot never
 * becomes a path; `malformed` means a NUL or an escape that is not UTF-8.
 */
export function parseGitTarget(target: string): GitRoute {
  let segments: string[];
  try {
    segments = pathOf(target).split('/').map(decodeSegment);
  } catch {
    return { kind: 'malformed' };
  }
  const [root, owner, repository, ...rest] = segments;
  if (root !== '' || owner === undefined || repository === undefined) return UNKNOWN;
  if (segments.some((segment) => segment.includes('\0'))) return { kind: 'malformed' };
  const address = repositoryAddress(owner, repository);
  if (address === undefined) return UNKNOWN;
  return routeBelow(address, rest.join('/'), target);
}

function decodeSegment(segment: string): string {
  return segment.includes('%') ? decodeURIComponent(segment) : segment;
}

/** Undefined when a part is outside the grammar. `x.git.git` is refused: it would name a repository that `x.git` cannot reach. */
export function repositoryAddress(owner: string, repository: string): RepositoryAddress | undefined {
  const name = repository.endsWith('.git') ? repository.slice(0, -4) : repository;
  if (!NAME.test(owner) || !NAME.test(name) || name.endsWith('.git')) return undefined;
  return { owner, name };
}

function routeBelow(address: RepositoryAddress, rest: string, target: string): GitRoute {
  switch (rest) {
    case 'info/refs':
      return { kind: 'info-refs', address, service: queryValue(target, 'service') };
    case 'git-upload-pack':
    case 'git-receive-pack':
      return { kind: 'service', address, service: rest };
    case 'git-upload-archive':
    case 'HEAD':
      return { kind: 'closed' };
    default:
      return rest.startsWith('objects/') && !rest.includes('..') ? { kind: 'closed' } : UNKNOWN;
  }
}

function queryValue(target: string, key: string): string | null {
  const at = target.indexOf('?');
  if (at < 0) return null;
  const query = target.slice(at + 1);
  // The one form git sends, without the cost of parsing.
  if (/^service=git-[a-z-]+$/.test(query)) return query.slice('service='.length);
  return new URLSearchParams(query).get(key);
}

/** What another scheme or a broken header carries: nobody's, which matters only where somebody asks. */
const NOBODYS: Credentials = { user: '', password: '' };

/** `null` without an Authorization header. RFC 7617; the user may be empty. */
export function basicCredentials(header: string | undefined): Credentials | null {
  if (header === undefined) return null;
  const match = /^basic +([A-Za-z0-9+/]+={0,2}) *$/i.exec(header);
  if (match === null) return NOBODYS;
  const text = Buffer.from(match[1] as string, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon < 0 || text.includes('\0')) return NOBODYS;
  return { user: text.slice(0, colon), password: text.slice(colon + 1) };
}
