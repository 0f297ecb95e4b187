/** Work that goes on longer than this lets others have a turn. */
const TURN_MS = 20;
/** How many calls pass between two looks at the clock. */
const CALLS = 64;

let calls = 0;
let turnBegan = 0;

/**
 * A pause for loops that may run long on what is cached, where an `await` alone never lets another request in: null as long as the turn
 * is short, else a promise of the next turn. Called once for each small step: `const pause = breath(); if (pause) await pause;`.
 */
export function breath(): Promise<void> | null {
  if (++calls < CALLS) return null;
  calls = 0;
  if (performance.now() - turnBegan < TURN_MS) return null;
  return new Promise((resolve) => {
    setImmediate(() => {
      turnBegan = performance.now();
      resolve();
    });
  });
}
