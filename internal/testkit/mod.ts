/**
 * testkit: what tests of several rooms share. Only tests import it.
 */
export { startTestDatabase, type TestDatabase } from './database.ts';
