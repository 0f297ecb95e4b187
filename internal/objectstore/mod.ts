/**
 * objectstore: objects by name, as other engines give them: put, get, get a part, exists, in batches and as streams. For registries of other
 * things than git's; what a git client may see is not decided here.
 *
 * Scope: every call names a repository, and what is read is looked up in that repository's whole *pool*. So an answer says what is stored, never
 * who may have it: it must not reach a client who has not been allowed to read the whole fork network. Objects are put into the repository.
 *
 * Kept: a put is a push of the server to itself, with a push's checks (links must lead somewhere), chunking, tiers and one transaction. The batch
 * hangs on a root that is a ref of the repository, `refs/packhouse/objects/<oid of the root>`, hidden from git clients:
 *
 *   tag     "of packhouse/objects", names the tree below; its oid is the root's name, so the same batch has the same root
 *   tree    one entry a blob or tree of the batch, named by its oid in hex; a commit or tag of the batch has a ref of its own instead
 *
 * The sweep keeps what roots reach. `release` deletes a root; bytes then leave as those of a deleted branch do.
 */
export { ObjectStore, type ObjectStoreParts, type ObjectStream, type Scope, type StoredObject } from './object-store.ts';
export type { ObjectToPut, PutResult } from './put-objects.ts';
