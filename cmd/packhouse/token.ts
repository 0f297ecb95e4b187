import { Command, InvalidArgumentError, Option } from 'commander';
import { type AccessToken, createToken, listTokens, revokeToken, type Scope } from '../../internal/auth/mod.ts';
import { parseDurationMs } from '../../internal/config/mod.ts';
import { addConfigOptions, parseRepository, print, table, withCatalog } from './cli.ts';

interface CreateOptions {
  readonly scope: Scope;
  readonly owner?: string;
  readonly repository?: ReturnType<typeof parseRepository>;
  readonly expires?: number;
  readonly json?: boolean;
}

export function tokenCommand(): Command {
  const token = new Command('token').description('manage access tokens (used when auth.mode is token)');
  for (const command of [create(), list(), revoke()]) token.addCommand(addConfigOptions(command));
  return token.addHelpText(
    'after',
    `
Examples:
  packhouse token create ci --scope write --repository alice/demo --expires 90d
  packhouse token list
  packhouse token revoke ci`,
  );
}

function create(): Command {
  return new Command('create')
    .description('make a token; it is shown once. git sends it as the password, with any user name')
    .argument('<name>', 'what you call it')
    .addOption(new Option('--scope <scope>', 'write includes read').choices(['read', 'write']).default('read'))
    .option('--owner <owner>', "only this owner's repositories")
    .option('--repository <owner/name>', 'only this repository', parseRepository)
    .option('--expires <duration>', "stop being valid after, such as '90d'", parseExpiry)
    .option('--json', 'print JSON')
    .action(async (name: string, options: CreateOptions, command: Command) => {
      if (options.owner !== undefined && options.repository !== undefined) {
        command.error('error: --repository names its owner; give it without --owner', { exitCode: 2 });
      }
      const owner = options.repository?.owner ?? options.owner ?? null;
      const request = { name, scopes: [options.scope], owner, repository: options.repository?.name ?? null };
      const { expires } = options;
      const { token, record, now } = await withCatalog(command, async (catalog) => {
        const now = await catalog.retire.now();
        const expiresAt = expires === undefined ? null : new Date(now.getTime() + expires);
        return { now, ...(await createToken(catalog.kysely, { ...request, expiresAt })) };
      });
      print(options.json ?? false, { token, ...plain(record, now) }, token);
    });
}

function list(): Command {
  return new Command('list')
    .description('list tokens in force')
    .option('--all', 'revoked ones too')
    .option('--json', 'print JSON')
    .action(async (options: { all?: boolean; json?: boolean }, command: Command) => {
      const { found, now } = await withCatalog(command, async (catalog) => ({
        found: await listTokens(catalog.kysely, { includeRevoked: options.all ?? false }),
        now: await catalog.retire.now(),
      }));
      const tokens = found.map((token) => plain(token, now));
      const rows = tokens.map((row) => [
        row.name,
        row.prefix,
        row.scopes.join(','),
        row.limit,
        row.state,
        row.last_used_at ?? 'never',
      ]);
      print(options.json ?? false, tokens, table(['NAME', 'PREFIX', 'SCOPES', 'REPOSITORIES', 'STATE', 'LAST USED'], rows));
    });
}

function revoke(): Command {
  return new Command('revoke')
    .description('end a token: no request with it is served from then on')
    .argument('<token>', 'its name or its prefix')
    .option('--json', 'print JSON')
    .action(async (nameOrPrefix: string, options: { json?: boolean }, command: Command) => {
      const { record, now } = await withCatalog(command, async (catalog) => ({
        record: await revokeToken(catalog.kysely, nameOrPrefix),
        now: await catalog.retire.now(),
      }));
      print(options.json ?? false, plain(record, now), `revoked ${record.name} (${record.prefix}…)`);
    });
}

function parseExpiry(text: string): number {
  const durationMs = parseDurationMs(text);
  if (durationMs === undefined || durationMs === 0) throw new InvalidArgumentError("expected a duration such as '12h' or '90d'");
  return durationMs;
}

/** `now` is PostgreSQL's, by which servers refuse a token. */
function plain(token: AccessToken, now: Date) {
  const expired = token.expiresAt !== null && token.expiresAt.getTime() <= now.getTime();
  return {
    name: token.name,
    prefix: token.prefix,
    scopes: token.scopes,
    limit: token.owner === null ? 'all' : `${token.owner}/${token.repository ?? '*'}`,
    state: token.revokedAt !== null ? 'revoked' : expired ? 'expired' : 'in force',
    created_at: token.createdAt.toISOString(),
    expires_at: token.expiresAt?.toISOString() ?? null,
    revoked_at: token.revokedAt?.toISOString() ?? null,
    last_used_at: token.lastUsedAt?.toISOString() ?? null,
  };
}
