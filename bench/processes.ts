import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** CPU seconds; /proc counts in hundredths of a second, so a figure needs many requests behind it. */
export interface CpuSeconds {
  /** The process itself with its threads. */
  readonly self: number;
  /** Everything it started and what those started, ended ones included. */
  readonly descendants: number;
}

/** One line of /proc/PID/stat (proc(5)), times in ticks. */
export interface Stat {
  readonly pid: number;
  readonly parent: number;
  readonly own: number;
  /** Of children that ended and were waited for. */
  readonly reaped: number;
}

const TICKS_PER_SECOND = 100;
const SETTLE_MS = 15;
const READS_MAX = 12;

export function parseStat(line: string): Stat {
  // The second field is the command in parentheses, and may hold spaces and parentheses.
  const rest = line
    .slice(line.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  const field = (number: number): number => rest[number - 3] ?? Number.NaN;
  return { pid: Number.parseInt(line, 10), parent: field(4), own: field(14) + field(15), reaped: field(16) + field(17) };
}

export function cpuSecondsOf(pid: number, stats: readonly Stat[]): CpuSeconds {
  const children = Map.groupBy(stats, (stat) => stat.parent);
  const root = stats.find((stat) => stat.pid === pid);
  if (root === undefined) throw new Error(`no process ${pid}`);
  let descendants = root.reaped;
  const open = [...(children.get(pid) ?? [])];
  for (let stat = open.pop(); stat !== undefined; stat = open.pop()) {
    descendants += stat.own + stat.reaped;
    open.push(...(children.get(stat.pid) ?? []));
  }
  return { self: root.own / TICKS_PER_SECOND, descendants: descendants / TICKS_PER_SECOND };
}

/** CPU of a server and its processes, once two readings agree: what answered last may still be ending. */
export async function settledCpuSeconds(pid: number): Promise<CpuSeconds> {
  let last = cpuSecondsOf(pid, readStats());
  for (let reads = 1; reads < READS_MAX; reads++) {
    await sleep(SETTLE_MS);
    const now = cpuSecondsOf(pid, readStats());
    if (now.self === last.self && now.descendants === last.descendants) return now;
    last = now;
  }
  return last;
}

function readStats(): Stat[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      return parseStat(readFileSync(`/proc/${name}/stat`, 'latin1'));
    } catch {
      return []; // it has ended meanwhile
    }
  });
}

/** Lets `peakMemoryBytes` start again from what is in use now. */
export function resetPeakMemory(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

/** The most resident memory of the process, its threads included, since `resetPeakMemory`. */
export function peakMemoryBytes(pid: number): number {
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  if (kib === undefined) throw new Error(`/proc/${pid}/status has no VmHWM`);
  return Number(kib) * 1024;
}
