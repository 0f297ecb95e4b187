import { FastImport, type FileChange } from './fast-import.ts';

export interface HistoryShape {
  readonly commits: number;
  /** Paths that the commits write to. */
  readonly files: number;
  /** Every so many commits one is a merge, renames a file, adds a binary, gets an annotated tag; 0: never. */
  readonly mergeEvery: number;
  readonly renameEvery: number;
  readonly binaryEvery: number;
  readonly tagEvery: number;
  readonly binaryBytes: number;
  readonly seed: number;
}

const SHAPE: HistoryShape = {
  commits: 200,
  files: 40,
  mergeEvery: 9,
  renameEvery: 13,
  binaryEvery: 17,
  tagEvery: 25,
  binaryBytes: 4000,
  seed: 1,
};

const WORDS = ['pack', 'crate', 'tail', 'seal', 'ref', 'oid', 'delta', 'tree', 'blob', 'commit', 'tag', 'prune'];

/** Numbers that look random and are the same in every run (xorshift, 32 bit). */
export function seededRandom(seed: number): (below: number) => number {
  let state = (seed * 2_654_435_761 + 1_013_904_223) >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % below;
  };
}

/** Bytes that do not compress, the same in every run. */
export function seededBytes(seed: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(Math.ceil(length / 4) * 4);
  const random = seededRandom(seed);
  for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(random(2 ** 32), at);
  return bytes.subarray(0, length);
}

/** A history with edits that grow and shrink files in several folders, merges, renames, binaries, tags, and every mode of entry. */
export function syntheticHistory(shape: Partial<HistoryShape> = {}): FastImport {
  const { commits, files, mergeEvery, renameEvery, binaryEvery, tagEvery, binaryBytes, seed } = { ...SHAPE, ...shape };
  const random = seededRandom(seed);
  const importer = new FastImport();
  const texts = new Map<string, string>();
  const marks: number[] = [];
  const due = (every: number, i: number): boolean => every > 0 && i % every === every - 1;

  for (let i = 0; i < commits; i++) {
    const changes: Record<string, FileChange> = i === 0 ? { ...MODES } : {};
    for (let n = 1 + random(3); n > 0; n--) {
      const path = pathOf(random(files));
      const text = edited(texts.get(path) ?? '', random);
      texts.set(path, text);
      changes[path] = text;
    }
    if (due(binaryEvery, i)) changes[`assets/b${i % 5}.bin`] = seededBytes(seed * 1000 + i, binaryBytes);
    const renames = due(renameEvery, i) ? renamed(texts, changes, i) : [];
    const tip = marks.at(-1);
    const parents = tip === undefined ? [] : [tip];
    if (due(mergeEvery, i) && marks.length > 3) {
      const side = importer.commit('refs/heads/side', { [`side/s${i}`]: `${i}\n` }, { parents: [marks[marks.length - 3] ?? 1] });
      parents.push(side);
    }
    const mark = importer.commit('refs/heads/main', changes, { parents, renames, message: `change ${i}\n\n${sentence(random)}` });
    marks.push(mark);
    if (due(tagEvery, i)) importer.tag(`v${i}`, mark, `release ${i}\n`);
  }
  return importer;
}

const MODES: Readonly<Record<string, FileChange>> = {
  'bin/run': { mode: '100755', content: '#!/bin/sh\n' },
  link: { mode: '120000', content: 'bin/run' },
  empty: '',
};

function pathOf(i: number): string {
  return [`f${i}.txt`, `src/f${i}.txt`, `src/deep/f${i}.txt`, `doc/a/b/c/f${i}.txt`][i % 4] ?? '';
}

function renamed(texts: Map<string, string>, changes: Record<string, FileChange>, i: number): [string, string][] {
  const from = [...texts.keys()].find((path) => !(path in changes));
  if (from === undefined) return [];
  const to = `moved/m${i}.txt`;
  texts.set(to, texts.get(from) ?? '');
  texts.delete(from);
  return [[from, to]];
}

function edited(text: string, random: (below: number) => number): string {
  const lines = text.split('\n');
  lines.splice(random(lines.length), random(3), ...Array.from({ length: 1 + random(8) }, () => sentence(random)));
  return lines.join('\n');
}

function sentence(random: (below: number) => number): string {
  return `${Array.from({ length: 3 + random(9) }, () => WORDS[random(WORDS.length)]).join(' ')} ${random(1_000_000)}`;
}
