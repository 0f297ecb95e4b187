import { type ObjectTable, outsideOf, unsound, WHOLE } from './object-table.ts';

/**
 * Chooses of each object the copy that is read, and kept where it can be: the smallest that is whole or a delta on an object that stays,
 * else what there is. Copies in several packs may be deltas of each other, so a choice never leads back to where it came from.
 */
export function chooseCopies(table: ObjectTable): void {
  // Objects with one copy have no choice; the others choose around them.
  for (let object = 0; object < table.count; object++) {
    const copy = table.firstCopy[object]!;
    if (table.copyNext[copy]! < 0) table.chosen[object] = copy;
  }
  let grounds: Int32Array | null = null;
  for (let object = 0; object < table.count; object++) {
    if (table.chosen[object]! >= 0) continue;
    const copy = bestCopy(table, object);
    if (copy >= 0) {
      table.chosen[object] = copy;
      continue;
    }
    grounds ??= groundCopies(table);
    takeGround(table, object, grounds);
  }
}

/** The smallest copy that can be kept and does not lead back to the object; one on a base that goes only if there is no other. */
function bestCopy(table: ObjectTable, object: number): number {
  let best = -1;
  let bestBytes = Infinity;
  for (let copy = table.firstCopy[object]!; copy >= 0; copy = table.copyNext[copy]!) {
    const base = table.copyBase[copy]!;
    const stays = base === WHOLE || (base >= 0 && table.keep[base] === 1);
    const bytes = table.copyLength[copy]! + (stays ? 0 : 2 ** 52);
    if (bytes < bestBytes && !leadsTo(table, base, object)) {
      best = copy;
      bestBytes = bytes;
    }
  }
  return best;
}

function leadsTo(table: ObjectTable, from: number, object: number): boolean {
  let steps = 0;
  for (let at = from; at >= 0; ) {
    if (at === object) return true;
    // Copies of one pack never make a circle, but a damaged pack must not hold us for ever.
    if (++steps > table.count) throw unsound(`the deltas under ${table.oids.hex(object)} go in a circle`);
    const copy = table.chosen[at]!;
    if (copy < 0) return false;
    at = table.copyBase[copy]!;
  }
  return false;
}

/** For each object the copy on the shortest way to a whole one, found from the whole ones upwards; -1 for what hangs on nothing. */
function groundCopies(table: ObjectTable): Int32Array {
  const first = new Int32Array(table.count).fill(-1);
  const next = new Int32Array(table.copyCount).fill(-1);
  const ground = new Int32Array(table.count).fill(-1);
  const queue = new Int32Array(table.count);
  let filled = 0;
  const reach = (copy: number): void => {
    const object = table.copyObject[copy]!;
    if (ground[object]! >= 0) return;
    ground[object] = copy;
    queue[filled++] = object;
  };
  for (let copy = 0; copy < table.copyCount; copy++) {
    const base = table.copyBase[copy]!;
    if (base < 0) reach(copy);
    else {
      next[copy] = first[base]!;
      first[base] = copy;
    }
  }
  for (let at = 0; at < filled; at++) {
    for (let copy = first[queue[at]!]!; copy >= 0; copy = next[copy]!) reach(copy);
  }
  return ground;
}

/** The outside objects (1: needed) that objects which stay are read through. */
export function neededOutside(table: ObjectTable): Uint8Array {
  const needed = new Uint8Array(table.outside.size);
  const seen = new Uint8Array(table.count);
  for (let object = 0; object < table.count; object++) {
    if (!table.keep[object]) continue;
    let at = object;
    while (at >= 0 && !seen[at]) {
      seen[at] = 1;
      at = table.copyBase[table.chosen[at]!]!;
    }
    if (at < WHOLE) needed[outsideOf(at)] = 1;
  }
  return needed;
}

/** Puts an object, and all that it then hangs on, on the shortest way: no choice made before can make a circle with that. */
function takeGround(table: ObjectTable, object: number, grounds: Int32Array): void {
  for (let at = object; at >= 0; at = table.copyBase[table.chosen[at]!]!) {
    if (grounds[at]! < 0) throw unsound(`no copy of ${table.oids.hex(at)} can be read`, { oid: table.oids.hex(at) });
    table.chosen[at] = grounds[at]!;
  }
}
