import { seededRandom } from './statistics.ts';

/** The shape of a synthetic history. The same shape makes the same objects on every machine. */
export interface Shape {
  readonly commits: number;
  readonly files: number;
  /** Files that one commit edits. */
  readonly churn: number;
  /** Branches and tags, besides `main`. */
  readonly refs: number;
  /** Entries of one folder. */
  readonly fanout: number;
  readonly seed: number;
}

const START_SECONDS = 1_600_000_000;
const STEP_SECONDS = 600;
const MERGE_EVERY = 11;
/** Share of the files that the first commit brings; the others come one by one. */
const FILES_AT_START = 0.3;
const WORDS = 'pack tree blob commit ref tag delta index graph shard store cache fetch push clone merge object reader'.split(' ');

/**
 * A source tree that grows and is edited, as a stream for `git fast-import`: text files of 20 to 140 lines in nested folders, commits that
 * change some lines of a few of them, a short side branch merged now and then, branches and annotated tags spread over the history.
 */
export function* syntheticHistory(shape: Shape): Generator<Buffer> {
  const random = seededRandom(shape.seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const sentence = (): string =>
    `${Array.from({ length: 3 + below(8) }, () => WORDS[below(WORDS.length)]).join(' ')} ${below(1e6)}`;
  const files: string[][] = [];
  const refAt = refsByCommit(shape);
  const body = (lines: readonly string[]): string => data(`${lines.join('\n')}\n`);

  const edit = (index: number): string => {
    let lines = files[index];
    if (lines === undefined) {
      lines = Array.from({ length: 20 + below(121) }, sentence);
      files[index] = lines;
    } else {
      lines.splice(below(lines.length), below(3), ...Array.from({ length: 1 + below(3) }, sentence));
    }
    return `M 100644 inline ${pathOf(index, shape)}\n${body(lines)}`;
  };

  let mark = 0;
  let tip = 0;
  for (let i = 0; i < shape.commits; i++) {
    let changes = '';
    const grown = Math.ceil(
      shape.files * Math.min(1, FILES_AT_START + ((1 - FILES_AT_START) * i) / Math.max(1, shape.commits - 1)),
    );
    while (files.length < grown) changes += edit(files.length);
    if (i > 0) for (let n = 0; n < shape.churn; n++) changes += edit(below(files.length));
    let side = 0;
    if (i % MERGE_EVERY === MERGE_EVERY - 1) {
      const change = `M 100644 inline notes/${i}.txt\n${body([sentence()])}`;
      side = ++mark;
      yield Buffer.from(commit('refs/heads/main', side, i, `note ${i}`, [tip], change));
      changes += change;
    }
    const made = ++mark;
    const parents = [...(tip === 0 ? [] : [tip]), ...(side === 0 ? [] : [side])];
    yield Buffer.from(commit('refs/heads/main', made, i, `change ${i}: ${sentence()}`, parents, changes));
    tip = made;
    for (const ref of refAt.get(i) ?? []) yield Buffer.from(refOf(ref, made, i));
  }
  yield Buffer.from('done\n');
}

/** Numbers of the refs that point at each commit, spread evenly. */
function refsByCommit({ refs, commits }: Shape): Map<number, number[]> {
  const at = new Map<number, number[]>();
  for (let ref = 0; ref < refs; ref++) {
    const commit = Math.floor(((ref + 1) * commits) / refs) - 1;
    at.set(Math.max(0, commit), [...(at.get(Math.max(0, commit)) ?? []), ref]);
  }
  return at;
}

function refOf(ref: number, mark: number, i: number): string {
  if (ref % 2 === 0) return `reset refs/heads/topic/${ref}\nfrom :${mark}\n\n`;
  return `tag v${ref}\nfrom :${mark}\ntagger T <t@example.com> ${START_SECONDS + i * STEP_SECONDS} +0000\n${data(`release ${ref}\n`)}`;
}

function commit(ref: string, mark: number, i: number, message: string, parents: readonly number[], changes: string): string {
  const when = `${START_SECONDS + i * STEP_SECONDS} +0000`;
  const lines = parents.map((parent, n) => `${n === 0 ? 'from' : 'merge'} :${parent}\n`).join('');
  const people = `author A <a@example.com> ${when}\ncommitter C <c@example.com> ${when}\n`;
  return `commit ${ref}\nmark :${mark}\n${people}${data(`${message}\n`)}${lines}${changes}\n`;
}

function pathOf(index: number, { fanout }: Shape): string {
  const folder = Math.floor(index / fanout);
  return `src/m${Math.floor(folder / fanout)}/p${folder % fanout}/f${index}.txt`;
}

/** All text here is ASCII: as many bytes as characters. */
function data(text: string): string {
  return `data ${text.length}\n${text}\n`;
}
