import { FetchRefusal } from './negotiate.ts';

/** What a list of patterns says of a path: null when none matches, so that its folder decides. */
export type SparseVerdict = boolean | null;

type Token =
  | { readonly kind: 'char'; readonly code: number }
  /** `?`: one character, no slash. */
  | { readonly kind: 'any' }
  | { readonly kind: 'set'; readonly has: (code: number) => boolean }
  /** `*`: characters other than slashes. */
  | { readonly kind: 'star' }
  /** Any characters. */
  | { readonly kind: 'all' }
  /** `**` and its slash: nothing, or any characters up to a slash. */
  | { readonly kind: 'folders' };

interface Pattern {
  readonly tokens: readonly Token[];
  readonly isNegative: boolean;
  readonly foldersOnly: boolean;
  /** Without a slash: the last part of a path is compared alone. */
  readonly nameOnly: boolean;
}

const SLASH = 0x2f;

/** Steps that one list of patterns may take in a request: some seconds, in which others have their turns. */
const STEPS_MAX = 1e9;
/** Steps for one path: nobody else has a turn meanwhile. */
const PATH_STEPS_MAX = 3e7;

/**
 * Patterns of a sparse specification, in the grammar of gitignore: the last one that matches decides. Paths and patterns are binary strings.
 * Matching takes time in proportion to pattern times path, whatever the pattern: whoever may push may write one, and trees that are met by
 * more paths than there are atoms. So steps are counted.
 */
export class SparsePatterns {
  readonly #patterns: readonly Pattern[];
  #left: number;

  constructor(text: string, stepsMax = STEPS_MAX) {
    this.#left = stepsMax;
    this.#patterns = text
      .replace(/^\xef\xbb\xbf/, '')
      .split('\n')
      .map(parsePattern)
      .filter((pattern) => pattern !== null)
      .reverse();
  }

  /** @throws FetchRefusal when all paths so far, or this one, have taken too many steps */
  verdict(path: string, isFolder: boolean): SparseVerdict {
    const name = path.slice(path.lastIndexOf('/') + 1);
    const room = Math.min(this.#left, PATH_STEPS_MAX);
    const meter = { left: room };
    let verdict: SparseVerdict = null;
    for (const pattern of this.#patterns) {
      if (pattern.foldersOnly && !isFolder) continue;
      if (!matches(pattern.tokens, pattern.nameOnly ? name : path, meter)) continue;
      verdict = !pattern.isNegative;
      break;
    }
    this.#left -= room - meter.left;
    return verdict;
  }

  /** Counts work that is done for the patterns elsewhere. @throws FetchRefusal */
  spend(steps: number): void {
    this.#left -= steps;
    if (this.#left < 0) throw tooMuchWork();
  }
}

function tooMuchWork(): FetchRefusal {
  return new FetchRefusal('upload-pack: the patterns of the sparse filter take too long on these trees');
}

function parsePattern(line: string): Pattern | null {
  if (line.startsWith('#')) return null;
  let text = withoutTrailingSpaces(line.endsWith('\r') ? line.slice(0, -1) : line);
  const isNegative = text.startsWith('!');
  if (isNegative) text = text.slice(1);
  const foldersOnly = text.endsWith('/');
  if (foldersOnly) text = text.slice(0, -1);
  if (text === '' && !foldersOnly) return null;
  const nameOnly = !text.includes('/');
  if (text.startsWith('/')) text = text.slice(1);
  return { tokens: tokensOf(text), isNegative, foldersOnly, nameOnly };
}

/** Spaces at the end count only behind a backslash. */
function withoutTrailingSpaces(line: string): string {
  let end = 0;
  for (let at = 0; at < line.length; at++) {
    if (line[at] === '\\') end = Math.min(++at + 1, line.length);
    else if (line[at] !== ' ') end = at + 1;
  }
  return line.slice(0, end);
}

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < text.length; ) {
    const char = text[at]!;
    if (char === '*') {
      let end = at;
      while (text[end] === '*') end++;
      const bounded = end - at >= 2 && (at === 0 || text[at - 1] === '/');
      if (bounded && text[end] === '/') {
        tokens.push({ kind: 'folders' });
        end++;
      } else {
        tokens.push({ kind: bounded && end === text.length ? 'all' : 'star' });
      }
      at = end;
    } else if (char === '?') {
      tokens.push({ kind: 'any' });
      at++;
    } else if (char === '[') {
      const set = setAt(text, at);
      if (set === null) return [NEVER];
      tokens.push(set.token);
      at = set.end;
    } else {
      if (char === '\\') at++;
      // A backslash at the end matches nothing.
      if (at === text.length) return [NEVER];
      tokens.push({ kind: 'char', code: text.charCodeAt(at++) });
    }
  }
  return tokens;
}

const NEVER: Token = { kind: 'set', has: () => false };

/** Ranges of codes. */
const CLASSES: Readonly<Record<string, readonly (readonly [from: number, to: number])[]>> = {
  alnum: [
    [0x30, 0x39],
    [0x41, 0x5a],
    [0x61, 0x7a],
  ],
  alpha: [
    [0x41, 0x5a],
    [0x61, 0x7a],
  ],
  blank: [
    [0x09, 0x09],
    [0x20, 0x20],
  ],
  cntrl: [
    [0x00, 0x1f],
    [0x7f, 0x7f],
  ],
  digit: [[0x30, 0x39]],
  graph: [[0x21, 0x7e]],
  lower: [[0x61, 0x7a]],
  print: [[0x20, 0x7e]],
  punct: [
    [0x21, 0x2f],
    [0x3a, 0x40],
    [0x5b, 0x60],
    [0x7b, 0x7e],
  ],
  space: [
    [0x09, 0x0d],
    [0x20, 0x20],
  ],
  upper: [[0x41, 0x5a]],
  xdigit: [
    [0x30, 0x39],
    [0x41, 0x46],
    [0x61, 0x66],
  ],
};

/** The bracket expression that starts at `text[start]`; null when it does not end. */
function setAt(text: string, start: number): { token: Token; end: number } | null {
  let at = start + 1;
  const isInverted = text[at] === '!' || text[at] === '^';
  if (isInverted) at++;
  const codes = new Uint8Array(256);
  for (let first = true; first || text[at] !== ']'; first = false) {
    if (at >= text.length) return null;
    const named = /^\[:([a-z]*):\]/.exec(text.slice(at, at + 12));
    if (named !== null) {
      const ranges = CLASSES[named[1]!];
      if (ranges === undefined) return null;
      for (const [from, to] of ranges) codes.fill(1, from, to + 1);
      at += named[0].length;
      continue;
    }
    const from = codeAt(text, at);
    let to = from;
    if (text[from.end] === '-' && from.end + 1 < text.length && text[from.end + 1] !== ']') to = codeAt(text, from.end + 1);
    codes.fill(1, from.code, Math.max(from.code, to.code + 1));
    at = to.end;
  }
  const has = (code: number): boolean => code !== SLASH && (codes[code] === 1) !== isInverted;
  return { token: { kind: 'set', has }, end: at + 1 };
}

function codeAt(text: string, at: number): { code: number; end: number } {
  const from = text[at] === '\\' && at + 1 < text.length ? at + 1 : at;
  return { code: text.charCodeAt(from), end: from + 1 };
}

/** Follows all ways through the tokens at once; state i means that the first i tokens are matched. */
function matches(tokens: readonly Token[], path: string, meter: { left: number }): boolean {
  const count = tokens.length;
  let now = new Uint8Array(count + 1);
  let next = new Uint8Array(count + 1);
  /** Inside the characters that a `folders` token takes. */
  const inside = new Uint8Array(count + 1);
  now[0] = 1;
  skipEmpty(tokens, now, inside);
  for (let at = 0; at < path.length; at++) {
    const code = path.charCodeAt(at);
    meter.left -= count + 1;
    if (meter.left < 0) throw tooMuchWork();
    next.fill(0);
    let alive = false;
    for (let i = 0; i < count; i++) {
      if (now[i] === 0 && inside[i] === 0) continue;
      const token = tokens[i]!;
      alive = true;
      if (token.kind === 'folders') {
        if (code === SLASH) next[i + 1] = 1;
      } else if (now[i] === 1 && takes(token, code)) next[token.kind === 'star' || token.kind === 'all' ? i : i + 1] = 1;
    }
    if (!alive) return false;
    [now, next] = [next, now];
    skipEmpty(tokens, now, inside);
  }
  return now[count] === 1;
}

function takes(token: Token, code: number): boolean {
  switch (token.kind) {
    case 'char':
      return token.code === code;
    case 'any':
    case 'star':
      return code !== SLASH;
    case 'set':
      return token.has(code);
    default:
      return true;
  }
}

/** Goes past tokens that may match nothing. */
function skipEmpty(tokens: readonly Token[], states: Uint8Array, inside: Uint8Array): void {
  for (let i = 0; i < tokens.length; i++) {
    const { kind } = tokens[i]!;
    if (states[i] === 0 || (kind !== 'star' && kind !== 'all' && kind !== 'folders')) continue;
    states[i + 1] = 1;
    if (kind === 'folders') inside[i] = 1;
  }
}
