/**
 * The syntax of git's configuration files (git-config, "CONFIGURATION FILE", "Syntax"), as far as a `.gitmodules` needs it: sections,
 * variables, quotes, escapes, comments, continued lines. Text is handled as binary strings, a char per byte.
 */
const END = '';

/** Called for each variable: section in lower case, subsection if there is one, key in lower case, value unless the line has none. */
export type ConfigVisitor = (section: string, subsection: string | undefined, key: string, value: string | undefined) => void;

function isSpace(char: string): boolean {
  return char === ' ' || char === '\t' || char === '\n' || char === '\r';
}

function isAlpha(char: string): boolean {
  return (char >= 'a' && char <= 'z') || (char >= 'A' && char <= 'Z');
}

function isKeyChar(char: string): boolean {
  return isAlpha(char) || (char >= '0' && char <= '9') || char === '-';
}

/** Reads chars; CR LF counts as one line feed, and the end of the text as a last one. */
class Reader {
  readonly #text: string;
  #at = 0;
  ended = false;

  constructor(text: string) {
    this.#text = text;
  }

  next(): string {
    if (this.#at >= this.#text.length) {
      this.ended = true;
      return '\n';
    }
    const char = this.#text[this.#at++]!;
    if (char !== '\r' || this.#text[this.#at] !== '\n') return char;
    this.#at++;
    return '\n';
  }

  /** Passes over a byte order mark. False when only a part of one is there. */
  skipByteOrderMark(): boolean {
    const mark = '\xef\xbb\xbf';
    if (this.#text.startsWith(mark)) this.#at = mark.length;
    else if (this.#text.startsWith(mark[0]!)) return false;
    return true;
  }
}

/**
 * Visits the variables of a configuration file, in order. False when a line cannot be read; the variables before it have been visited then,
 * as git, too, has acted on them by the time it stops.
 */
export function visitConfig(text: string, visit: ConfigVisitor): boolean {
  const reader = new Reader(text);
  if (!reader.skipByteOrderMark()) return false;
  let name = '';
  for (;;) {
    const char = reader.next();
    if (char === '\n' && reader.ended) return true;
    if (isSpace(char)) continue;
    if (char === '#' || char === ';') {
      while (reader.next() !== '\n');
    } else if (char === '[') {
      const header = readSectionHeader(reader);
      if (header === undefined || header === '') return false;
      name = `${header}.`;
    } else {
      if (!isAlpha(char)) return false;
      const variable = readVariable(reader, char);
      if (variable === undefined) return false;
      visitVariable(name + variable.key, variable.value, visit);
    }
  }
}

/** Splits `section.subsection.key`. What follows a NUL does not exist for git, whose strings end there. */
function visitVariable(fullName: string, fullValue: string | undefined, visit: ConfigVisitor): void {
  const name = beforeNul(fullName);
  const first = name.indexOf('.');
  const last = name.lastIndexOf('.');
  if (first < 0) return;
  const subsection = first === last ? undefined : name.slice(first + 1, last);
  visit(name.slice(0, first), subsection, name.slice(last + 1), fullValue === undefined ? undefined : beforeNul(fullValue));
}

function beforeNul(text: string): string {
  const nul = text.indexOf('\0');
  return nul < 0 ? text : text.slice(0, nul);
}

/** After `[`: the section, or `section.subsection`, up to `]`. */
function readSectionHeader(reader: Reader): string | undefined {
  let name = '';
  for (;;) {
    const char = reader.next();
    if (reader.ended) return undefined;
    if (char === ']') return name;
    if (isSpace(char)) return readSubsection(reader, char, name);
    if (!isKeyChar(char) && char !== '.') return undefined;
    name += char.toLowerCase();
  }
}

function readSubsection(reader: Reader, firstChar: string, section: string): string | undefined {
  let char = firstChar;
  do {
    if (char === '\n') return undefined;
    char = reader.next();
  } while (isSpace(char));
  if (char !== '"') return undefined;
  const parts: string[] = [section, '.'];
  for (char = reader.next(); char !== '"'; char = reader.next()) {
    if (char === '\\') char = reader.next();
    else if (char === '\n') return undefined;
    if (char === '\n') return undefined;
    parts.push(char);
  }
  return reader.next() === ']' ? parts.join('') : undefined;
}

function readVariable(reader: Reader, firstChar: string): { key: string; value: string | undefined } | undefined {
  let key = firstChar.toLowerCase();
  let char = reader.next();
  for (; !reader.ended && isKeyChar(char); char = reader.next()) key += char.toLowerCase();
  while (char === ' ' || char === '\t') char = reader.next();
  if (char === '\n') return { key, value: undefined };
  if (char !== '=') return undefined;
  const value = readValue(reader);
  return value === undefined ? undefined : { key, value };
}

function readValue(reader: Reader): string | undefined {
  const parts: string[] = [];
  let quoted = false;
  let spaces = 0;
  for (;;) {
    const char = reader.next();
    if (char === '\n') return quoted ? undefined : parts.join('');
    if (isSpace(char) && !quoted) {
      if (parts.length > 0) spaces++;
    } else if ((char === ';' || char === '#') && !quoted) {
      while (reader.next() !== '\n');
      return parts.join('');
    } else {
      if (spaces > 0) parts.push(' '.repeat(spaces));
      spaces = 0;
      if (char === '"') quoted = !quoted;
      else if (char !== '\\') parts.push(char);
      else {
        const escaped = readEscape(reader);
        if (escaped === undefined) return undefined;
        if (escaped !== END) parts.push(escaped);
      }
    }
  }
}

/** After a backslash: the char that is meant, END for a continued line, undefined for an escape that does not exist. */
function readEscape(reader: Reader): string | undefined {
  const char = reader.next();
  if (char === '\n') return END;
  if (char === 't') return '\t';
  if (char === 'b') return '\b';
  if (char === 'n') return '\n';
  return char === '\\' || char === '"' ? char : undefined;
}
