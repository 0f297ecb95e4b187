import { visitConfig } from './config-syntax.ts';
import type { Report } from './fsck-ids.ts';

/**
 * The content of `.gitmodules` and `.gitattributes`, which git acts on when it checks out: names that leave `.git/modules` (CVE-2018-11235),
 * urls and paths that become options (CVE-2018-17456), urls that smuggle a line into a credential helper's protocol
 * (CVE-2020-5260, CVE-2020-11008), commands (CVE-2019-19604), and attribute lines that overflow old parsers (CVE-2022-23521).
 */

/** Git refuses attribute files and lines past these sizes. */
export const GITATTRIBUTES_BYTES_MAX = 100 * 1024 * 1024;
const ATTRIBUTES_LINE_BYTES_MAX = 2047;
/** A .gitmodules past this is refused unread: the largest real ones have some hundred KiB. Git's own bound is half a GiB. */
export const GITMODULES_BYTES_MAX = 4 * 1024 * 1024;
const LF = 0x0a;
const SHOWN_CHARS_MAX = 100;

/** Checks a blob that some tree names .gitmodules. */
export function checkGitmodules(data: Buffer, report: Report): void {
  if (data.length > GITMODULES_BYTES_MAX) {
    report('gitmodulesLarge', `.gitmodules has ${data.length} bytes, more than ${GITMODULES_BYTES_MAX}`);
    return;
  }
  const readable = visitConfig(data.toString('latin1'), (section, name, key, value) => {
    if (section !== 'submodule' || name === undefined) return;
    if (!isSafeSubmoduleName(name)) report('gitmodulesName', `the submodule name ${shown(name)} is not allowed`);
    if (value === undefined) return;
    if (key === 'url' && !isSafeSubmoduleUrl(value)) report('gitmodulesUrl', `the submodule url ${shown(value)} is not allowed`);
    if (key === 'path' && value.startsWith('-')) report('gitmodulesPath', `the submodule path ${shown(value)} is not allowed`);
    if (key === 'update' && value.startsWith('!'))
      report('gitmodulesUpdate', `the submodule update ${shown(value)} is not allowed`);
  });
  if (!readable) report('gitmodulesParse', 'a line of .gitmodules cannot be read');
}

/** Checks a blob that some tree names .gitattributes. Git reads it up to a NUL, if there is one. */
export function checkGitattributes(data: Buffer, report: Report): void {
  if (data.length > GITATTRIBUTES_BYTES_MAX) {
    report('gitattributesLarge', `.gitattributes has ${data.length} bytes, more than ${GITATTRIBUTES_BYTES_MAX}`);
    return;
  }
  let lineStart = 0;
  for (let at = 0; at < data.length && data[at] !== 0; at++) {
    if (data[at] === LF) lineStart = at + 1;
    else if (at - lineStart >= ATTRIBUTES_LINE_BYTES_MAX) {
      report('gitattributesLineLength', `a line of .gitattributes has more than ${ATTRIBUTES_LINE_BYTES_MAX} bytes`);
      return;
    }
  }
}

/** For a message: cut short, and quoted so that it can do nothing to a terminal or a log. */
function shown(text: string): string {
  return JSON.stringify(text.length > SHOWN_CHARS_MAX ? `${text.slice(0, SHOWN_CHARS_MAX)}…` : text).replace(/[\x7f-\xff]/g, '?');
}

/** A name becomes a folder below `.git/modules`, so no part of it may be `..`, with either separator. */
function isSafeSubmoduleName(name: string): boolean {
  return name !== '' && !name.split(/[/\\]/).includes('..');
}

function isSafeSubmoduleUrl(url: string): boolean {
  if (url.startsWith('-')) return false;
  if (/^\.\.?[/\\]/.test(url) || url.startsWith('git://')) return !holdsLineFeed(url) && !climbsIntoHost(url);
  const helper = /^(?:http|https|ftp|ftps)::/.exec(url);
  if (helper !== null) return isSafeCurlUrl(url.slice(helper[0].length));
  return !/^(?:http|https|ftp|ftps):\/\//.test(url) || isSafeCurlUrl(url);
}

/** Whether decoding the url gives a line feed. */
function holdsLineFeed(url: string): boolean {
  return url.includes('\n') || /%0a/i.test(url);
}

/** Whether `../` steps are followed by what, put after the remote's url, would replace its host. */
function climbsIntoHost(url: string): boolean {
  const steps = /^(?:\.\.?[/\\])+/.exec(url);
  if (steps === null || !/\.\.[/\\]/.test(steps[0])) return false;
  const next = url[steps[0].length];
  return next === ':' || next === '/';
}

/** A url that git-remote-curl would be given: it has a scheme and a host, and no line feed to pass on to a credential helper. */
function isSafeCurlUrl(url: string): boolean {
  const scheme = url.indexOf('://');
  if (scheme <= 0 || holdsLineFeed(url)) return false;
  const rest = url.slice(scheme + 3);
  const authority = rest.slice(0, /[/?#]/.exec(rest)?.index ?? rest.length);
  const at = authority.indexOf('@');
  return authority.length > at + 1;
}
