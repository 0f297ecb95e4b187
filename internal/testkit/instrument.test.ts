import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { instrument } from './instrument.ts';

/** What is exported is compared with and without counters. ´ and § stand for the marks of templates. */
const SYNTAX = String.raw`
export const result = [];
const out = (value) => { result.push(value); return value; };
const arrow = (n) => n > 2 ? n : ({ n });
const nested = (a) => (b) => a && b || [a, b], chosen = (a) => a ? a > 1 ? 'many' : 'one' : a ?? 'none';
out([arrow(1), arrow(3), nested(0)(2), nested(1)(0), chosen(2), chosen(1), chosen(0), chosen(null)]);

outer: for (let i = 0; i < 4; i++) for (const j of [1, 2, 3])
  if (j === 2) continue outer; else if (i === 3) break outer
  else out(i * 10 + j);
for (let i = 0; i < 3; out(i++));
let n = 3; while (n) if (n-- === 2) continue; else out(n)
do n++; while (n < 5)
out(n);
if (n) if (n > 9) out('dangling'); else out('else of the inner');
if (n > 9) out('no'); else label: { if (n) break label; out('no'); }

const deep = { a: { f() { return this === deep.a; }, s: 'text' }, none: null };
out([deep?.a?.f(), deep.none?.f().g, (deep.none ?? deep.a)?.s.length, (n && deep.a.f)?.name, delete deep.none?.x]);
let lazy, named; lazy ??= out('lazy'); lazy ||= out('never'); lazy &&= (out('and'), 'sequence'); named ??= () => 1;
out([lazy, named.name, (n > 1 && (() => {})).name, (n > 1 ? class {} : null).name]);

class Base { static #count = 0; static { if (Base.#count === 0) Base.#count = 5; } kind = this.of?.() ?? 'base'; static get count() { return Base.#count; }
  static has(o) { return typeof o === 'object' && #own in o } #own = (() => 7)(); own = () => this.#own ? this.#own : 0 }
class Derived extends Base { constructor(x) { super(); if (x) return; this.late = x } of() { return 'derived' } ['f' + (n ? 1 : 2)] = n || 1; set y(v) { out(v) } }
const d = new Derived(0); d.y = d.own();
out([d.kind, d.late, d.f1, Base.count, Base.has(d), Base.has({}), Object.keys(new Derived(1))]);

async function* letters(last) { for (const one of 'abcdef') { if (one === last) return 'end'; const more = yield one; more && out(more) } }
for await (const one of letters('c')) out(one);
const it = letters(); await it.next(); await it.next('sent');
function* two() { const x = (yield 1) ? yield 2 : yield 3; return x || (yield 4) }
out([...two()]);
const waits = async (f) => f && await f(); out(await waits(async () => 8));

const tag = (parts, ...values) => parts.raw.join('|') + values.map((v) => v ? v : '-');
out([tag´a\n§{n ? ´in§{n && 1}´ : 0} {} §{null || 0}´, ´§{n}§{(() => ´x§{n || 1}´)()}´, /[/{]}?:/.test('x'), 4 / 2 / 1]);
switch (n) { case 4: out('no'); case 5: out('falls'); case 6: default: { out('through') } }
switch (n) { default: case 1: }
try { out(null.x) } catch { out('caught') } finally { out('finally') }
try { throw new Error('e') } catch ({ message }) { if (message) out(message) }
function late(a = n ? 'default' : 'no', { b = a ?? 1, ...c } = {}) { return [a, b, c] } function strict() { 'use strict'; return this } out([late(), strict()]);
for (const k in { p: 1, q: 2 }) k === 'p' ? out(k) : void 0;
for (var v = (n in {}) ? 1 : 2, w = 0; w < 1; w++) out(v);
;;{} out((n, n ? (1, 2) : 3)); out(n ? async (x) => { await x } : 0); out(typeof (n ? late : arrow)); result.pop(), result.pop();
`
  .replaceAll('´', '`')
  .replaceAll('§', '$');

const { packhouseBranches } = globalThis;
const counters = new Uint8Array(1000);
globalThis.packhouseBranches = { counters, used: 0, literals: [] };
after(() => {
  globalThis.packhouseBranches = packhouseBranches;
});

async function evaluated(code: string): Promise<unknown> {
  const { result } = (await import(`data:text/javascript,${encodeURIComponent(code)}`)) as { result: unknown };
  return result;
}

async function countsOf(code: string): Promise<number[]> {
  counters.fill(0);
  const { code: counted, count } = instrument(code, 10);
  await evaluated(counted);
  return [...counters.subarray(10, 10 + count)];
}

test('a module computes the same with counters, and its lines keep their numbers', async () => {
  const { code, count } = instrument(SYNTAX, 0);
  assert.ok(count > 90, `${count} counters`);
  assert.equal(code.split('\n').length, SYNTAX.split('\n').length);
  const plain = (await evaluated(SYNTAX)) as unknown[];
  assert.ok(plain.length > 30, `${plain.length} results`);
  assert.deepEqual(await evaluated(code), plain);
  assert.ok(counters.subarray(0, count).filter((times) => times > 0).length > 80);
  assert.ok(counters.subarray(count).every((times) => times === 0));
});

test('each way through is counted by itself', async () => {
  const cases: readonly (readonly [code: string, counts: readonly number[]])[] = [
    ['for (let i = 0; i < 5; i++) if (i > 2) continue', [5, 2, 3]],
    ['for (let i = 0; i < 5; i++) { if (i > 2) {} else {} }', [5, 2, 3]],
    ['for (const x of [0, 1, 2]) x ? x === 1 && 1 : 0', [3, 2, 1, 1]],
    ['const f = (x) => x ?? 1; f(0), f(), f()', [3, 2]],
    ['for (const x of [1, 2, 2]) switch (x) { case 1: case 2: break; default: }', [3, 1, 3, 0]],
    ['try { a() } catch { } function a() { b() } class C { static { a.x ||= 1 } }', [1, 1, 1, 1]],
    ['', []],
  ];
  for (const [code, counts] of cases) assert.deepEqual(await countsOf(code), counts, code);
});

test('a module that uses the name of the counters is refused', () => {
  assert.throws(() => instrument('let __branches', 0), /uses the name/);
});

test('what a branch compares with is told with its counter', () => {
  const { literals } = instrument(
    "if (top === 'no') {} function f(x) { if (x.startsWith('a')) return x[1] !== 7; switch (x) { case 'c': } }",
    5,
  );
  assert.deepEqual(literals, [
    { counter: 7, value: 'a' },
    { counter: 8, value: 7 },
    { counter: 7, value: 'c' },
  ]);
});
