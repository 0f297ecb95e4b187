/**
 * auth: access tokens, and who may read and write which repository.
 *
 * A token is `pkh_` and 40 random letters; the database keeps its SHA-256, its scopes (read, write), and the owner or the repository it
 * is limited to. Promises: a revoked or expired token is refused everywhere from then on; with credentials that are no token in
 * force nothing is allowed; somebody who may not read a private repository gets the decision that a missing one gets.
 */
export {
  type Authorizer,
  type AuthPolicy,
  type Credentials,
  createAuthorizer,
  type Decision,
  decide,
  type Identity,
  type Principal,
  type Target,
} from './authorize.ts';
export { type AccessToken, createToken, listTokens, revokeToken, type Scope, type TokenRequest } from './tokens.ts';
