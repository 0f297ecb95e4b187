/**
 * migrations: the SQL files of db/migrations, applied by dbmate (the npm package brings its program), one process at a time.
 * They only ever go forward here; `dbmate down` is a developer's tool.
 */
export { migrate } from './migrate.ts';
