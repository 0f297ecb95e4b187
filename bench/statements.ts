/** What PostgreSQL was asked, as its own log says with `log_statement = all`. What a function executes inside is not in the log. */
export interface StatementCount {
  /** Without those that only begin or end a transaction. */
  readonly statements: number;
  /** Those begun, and statements that stood alone. */
  readonly transactions: number;
}

const LINE = /^\S+ \S+ \S+ \[(\d+)\] LOG: {2}(?:statement|execute [^:]*):\s*(\w*)/gm;
const BEGINS = new Set(['begin', 'start']);
const ENDS = new Set(['commit', 'rollback', 'end', 'abort']);

/** Counts in a piece of the log; log_line_prefix is PostgreSQL's default, `%m [%p] `. No transaction may be open where it starts. */
export function countStatements(log: string): StatementCount {
  let statements = 0;
  let transactions = 0;
  const open = new Set<string>();
  for (const [, pid = '', word = ''] of log.matchAll(LINE)) {
    const verb = word.toLowerCase();
    if (BEGINS.has(verb)) {
      transactions++;
      open.add(pid);
    } else if (ENDS.has(verb)) {
      open.delete(pid);
    } else {
      statements++;
      if (!open.has(pid)) transactions++;
    }
  }
  return { statements, transactions };
}
