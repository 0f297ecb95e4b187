import type { Report } from './fsck-ids.ts';
import { isDigit, isHexOid, lineEnd, startsWith } from './scan.ts';
import { readKind } from './tag.ts';

const LF = 0x0a;
const SPACE = 0x20;
const LESS = 0x3c;
const GREATER = 0x3e;
const ZERO = 0x30;
const BLANK_LINE = Buffer.from('\n\n');
/** Seconds that fit a signed 64-bit time. */
const SECONDS_MAX = 2n ** 63n - 1n;

/**
 * Whether the headers of a commit or tag end: in a blank line, or with the last line of the object. All that reads headers after it may
 * rely on every line having its LF.
 */
function headersEnd(data: Buffer, report: Report): boolean {
  const blank = data.indexOf(BLANK_LINE);
  const nul = data.indexOf(0);
  if (nul >= 0 && (blank < 0 || nul < blank)) {
    report('nulInHeader', `the headers hold a NUL at byte ${nul}`);
    return false;
  }
  if (blank >= 0 || data[data.length - 1] === LF) return true;
  report('unterminatedHeader', 'the last header line does not end');
  return false;
}

/** Checks a commit (gitformat-commit: tree, parents, author, committer, other headers, message). */
export function checkCommit(data: Buffer, oidBytes: number, report: Report): void {
  if (!headersEnd(data, report)) return;
  const digits = oidBytes * 2;
  if (!startsWith(data, 0, 'tree ')) return void report('missingTree', 'a commit starts with a tree line');
  if (!isHexOid(data, 5, oidBytes) || data[5 + digits] !== LF) return void report('badTreeSha1', 'the tree line holds no oid');
  let at = 6 + digits;
  for (; startsWith(data, at, 'parent '); at += 8 + digits) {
    if (isHexOid(data, at + 7, oidBytes) && data[at + 7 + digits] === LF) continue;
    return void report('badParentSha1', 'a parent line holds no oid');
  }
  let authors = 0;
  for (; startsWith(data, at, 'author '); authors++) {
    const end = lineEnd(data, at);
    if (checkIdent(data, at + 7, end, report)) return;
    at = end + 1;
  }
  if (authors === 0 && report('missingAuthor', 'there is no author line after the parents')) return;
  if (authors > 1 && report('multipleAuthors', 'there is more than one author line')) return;
  if (!startsWith(data, at, 'committer ')) return void report('missingCommitter', 'there is no committer line after the author');
  if (checkIdent(data, at + 10, lineEnd(data, at), report)) return;
  const nul = data.indexOf(0, at);
  if (nul >= 0) report('nulInCommit', `the message holds a NUL at byte ${nul}`);
}

/** Checks a tag (gitformat-tag: object, type, tag, tagger, message). */
export function checkTag(data: Buffer, oidBytes: number, report: Report): void {
  if (!headersEnd(data, report)) return;
  const typeAt = 8 + oidBytes * 2;
  if (!startsWith(data, 0, 'object ')) return void report('missingObject', 'a tag starts with an object line');
  if (!isHexOid(data, 7, oidBytes) || data[typeAt - 1] !== LF)
    return void report('badObjectSha1', 'the object line holds no oid');
  if (!startsWith(data, typeAt, 'type ')) return void report('missingTypeEntry', 'there is no type line after the object');
  if (lineEnd(data, typeAt) === data.length) return void report('missingType', 'the type line does not end');
  if (readKind(data, typeAt) === undefined) return void report('badType', 'the type line names no kind of object');
  const tagAt = lineEnd(data, typeAt) + 1;
  if (!startsWith(data, tagAt, 'tag ')) return void report('missingTagEntry', 'there is no tag line after the type');
  const tagEnd = lineEnd(data, tagAt);
  if (tagEnd === data.length) return void report('missingTag', 'the tag line does not end');
  if (!isTagName(data, tagAt + 4, tagEnd) && report('badTagName', 'the tag line holds no valid ref name')) return;
  checkTagger(data, tagEnd + 1, report);
}

function checkTagger(data: Buffer, taggerAt: number, report: Report): void {
  let at = taggerAt;
  if (startsWith(data, at, 'tagger ')) {
    const end = lineEnd(data, at);
    checkIdent(data, at + 7, end, report);
    at = end + 1;
  } else if (report('missingTaggerEntry', 'there is no tagger line after the tag')) return;
  if (startsWith(data, at, 'gpgsig ') || startsWith(data, at, 'gpgsig-sha256 ')) {
    do {
      const continued = data[at] === SPACE;
      const end = lineEnd(data, at);
      if (end === data.length) {
        return void report(continued ? 'badHeaderContinuation' : 'badGpgsig', 'the signature does not end');
      }
      at = end + 1;
    } while (data[at] === SPACE);
  }
  if (at < data.length && data[at] !== LF) report('extraHeaderEntry', 'there are more headers after the tagger');
}

/**
 * Checks an identity line's value, `name <email> seconds zone`, from `start` to its LF at `end`. Whether an error was found; after the first
 * problem the rest of the line means nothing and is passed over.
 */
function checkIdent(data: Buffer, start: number, end: number, report: Report): boolean {
  let at = start;
  if (data[at] === LESS) return report('missingNameBeforeEmail', 'an identity starts with its email');
  while (at < end && data[at] !== LESS && data[at] !== GREATER) at++;
  if (at === end) return report('missingEmail', 'an identity has no email');
  if (data[at] === GREATER) return report('badName', "the name of an identity holds '>'");
  if (data[at - 1] !== SPACE) return report('missingSpaceBeforeEmail', 'an identity has no space before its email');
  at++;
  while (at < end && data[at] !== LESS && data[at] !== GREATER) at++;
  if (at === end || data[at] === LESS) return report('badEmail', "the email of an identity does not end in '>'");
  if (data[at + 1] !== SPACE) return report('missingSpaceBeforeDate', 'an identity has no space before its date');
  return checkDate(data, at + 2, end, report);
}

function checkDate(data: Buffer, start: number, end: number, report: Report): boolean {
  let at = start;
  while (data[at] === SPACE || data[at] === 0x09) at++;
  if (!isDigit(data[at])) return report('badDate', 'the date of an identity is not a number');
  if (data[at] === ZERO && data[at + 1] !== SPACE) return report('zeroPaddedDate', 'the date of an identity starts with a zero');
  const digitsAt = at;
  while (isDigit(data[at])) at++;
  if (at - digitsAt > 18 && (at - digitsAt > 19 || BigInt(data.toString('latin1', digitsAt, at)) > SECONDS_MAX)) {
    return report('badDateOverflow', 'the date of an identity is past what 64 bits hold');
  }
  if (data[at] !== SPACE) return report('badDate', 'the date of an identity does not end in a space');
  const sign = data[at + 1];
  const zoneDigits = isDigit(data[at + 2]) && isDigit(data[at + 3]) && isDigit(data[at + 4]) && isDigit(data[at + 5]);
  if ((sign === 0x2b || sign === 0x2d) && zoneDigits && at + 6 === end) return false;
  return report('badTimezone', 'the time zone of an identity is not a sign and four digits');
}

/** Bytes that no ref name holds: controls, space, `* : ? [ \ ^ ~`, DEL (git-check-ref-format). */
const FORBIDDEN = new Uint8Array(256);
FORBIDDEN.fill(1, 0, 0x21);
for (const char of '*:?[\\^~\x7f') FORBIDDEN[char.charCodeAt(0)] = 1;

/** Whether `refs/tags/` and these bytes make a ref name. */
function isTagName(data: Buffer, start: number, end: number): boolean {
  const name = data.toString('latin1', start, end);
  for (let i = start; i < end; i++) if (FORBIDDEN[data[i]!] === 1) return false;
  if (name.includes('..') || name.includes('@{') || name.endsWith('.')) return false;
  return name.split('/').every((part) => part.length > 0 && !part.startsWith('.') && !part.endsWith('.lock'));
}
