import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

let root: string | undefined;
let count = 0;

/** A folder of this process that is gone when the process ends. */
export function scratchFolder(label = 'x'): string {
  if (root === undefined) {
    const made = mkdtempSync(join(tmpdir(), 'packhouse-test-'));
    root = made;
    process.on('exit', () => rmSync(made, { recursive: true, force: true }));
  }
  const folder = join(root, `${++count}-${label}`);
  mkdirSync(folder);
  return folder;
}
