import { type AnyNode, type Expression, type Node, parse } from 'acorn';

/** What an instrumented module calls its counters; no module may use the name. */
const COUNTERS = '__branches';

export interface Instrumented {
  readonly code: string;
  /** How many counters it has. */
  readonly count: number;
  /** What its branches compare with. */
  readonly literals: readonly BranchLiteral[];
}

export interface BranchLiteral {
  /** The counter of the innermost branch that it stands in. */
  readonly counter: number;
  readonly value: string | number;
}

/** How a counter is put before a node; the module computes the same with it. */
type Place = 'block' | 'statement' | 'expression';

/** What is put in at one position: what closes there comes before what opens there. */
interface Insertion {
  closing: string;
  opening: string;
}

/**
 * The module (JavaScript) with a counter at the beginning of each way through it: bodies of functions and loops, arms of `if` (one that is
 * not written too), `?:`, `switch` and `catch`, right sides of `&&`, `||` and `??`. Lines keep their numbers. The counters are
 * `packhouseBranches.counters` of the global object, from `first` on.
 */
export function instrument(code: string, first: number): Instrumented {
  if (code.includes(COUNTERS)) throw new Error(`a module uses the name ${COUNTERS}`);
  const program = parse(code, { ecmaVersion: 'latest', sourceType: 'module' });
  const insertions = new Map<number, Insertion>();
  const places = new Map<Node, Place>();
  let next = first;
  const at = (position: number): Insertion => {
    const insertion = insertions.get(position) ?? { closing: '', opening: '' };
    insertions.set(position, insertion);
    return insertion;
  };
  const hit = (): string => `${COUNTERS}[${next++}]++`;
  const open = (position: number, text: string): void => {
    at(position).opening += text;
  };
  const close = (position: number, text: string): void => {
    at(position).closing += text;
  };

  const literals: BranchLiteral[] = [];
  const visit = (node: AnyNode, within: number | undefined): void => {
    const before = next;
    for (const [child, place] of branchesOf(node)) places.set(child, place);
    if (node.type === 'SwitchCase') open(node.consequent[0]?.start ?? node.end, `${hit()};`);
    if (node.type === 'StaticBlock') open(code.indexOf('{', node.start) + 1, `${hit()};`);
    const place = places.get(node);
    if (place === 'block') open(node.start + 1, `${hit()};`);
    if (place === 'statement') open(node.start, `{${hit()};`);
    if (place === 'expression') open(node.start, `(${hit()},`);
    const own = next > before ? before : within;
    const counter = node.type === 'SwitchCase' ? within : own;
    if (counter !== undefined) literals.push(...comparedIn(node).map((value) => ({ counter, value })));
    for (const child of childrenOf(node)) visit(child, own);
    if (node.type === 'IfStatement' && !node.alternate) close(node.end, ` else ${hit()};`);
    if (place === 'statement') close(node.end, '}');
    if (place === 'expression') close(node.end, ')');
  };
  if (program.body[0] !== undefined) open(program.body[0].start, `const ${COUNTERS}=globalThis.packhouseBranches.counters;`);
  visit(program, undefined);

  let result = '';
  let end = 0;
  for (const [position, { closing, opening }] of [...insertions].sort(([a], [b]) => a - b)) {
    result += code.slice(end, position) + closing + opening;
    end = position;
  }
  return { code: result + code.slice(end), count: next - first, literals };
}

const statement = (node: AnyNode): [Node, Place] => [node, node.type === 'BlockStatement' ? 'block' : 'statement'];

/** The ways on from a node, except those that no node stands for. */
function branchesOf(node: AnyNode): [Node, Place][] {
  switch (node.type) {
    case 'FunctionDeclaration':
    case 'FunctionExpression':
    case 'ArrowFunctionExpression':
      return [[node.body, node.body.type === 'BlockStatement' ? 'block' : 'expression']];
    case 'IfStatement':
      return [node.consequent, ...(node.alternate ? [node.alternate] : [])].map(statement);
    case 'ForStatement':
    case 'ForInStatement':
    case 'ForOfStatement':
    case 'WhileStatement':
    case 'DoWhileStatement':
    case 'CatchClause':
      return [statement(node.body)];
    case 'ConditionalExpression':
      return [
        [node.consequent, 'expression'],
        [node.alternate, 'expression'],
      ];
    case 'LogicalExpression':
      return [[node.right, 'expression']];
    case 'AssignmentExpression':
      return ['&&=', '||=', '??='].includes(node.operator) && !takesName(node.right) ? [[node.right, 'expression']] : [];
    default:
      return [];
  }
}

/** Whether it is named after what it is assigned to, which it would not be behind a counter. */
function takesName({ type }: Expression): boolean {
  return type === 'ArrowFunctionExpression' || type === 'FunctionExpression' || type === 'ClassExpression';
}

function childrenOf(node: AnyNode): AnyNode[] {
  const isNode = (value: unknown): value is AnyNode =>
    typeof value === 'object' && value !== null && typeof (value as Partial<Node>).type === 'string';
  return Object.values(node).flat().filter(isNode);
}

const COMPARISONS: ReadonlySet<string> = new Set(['===', '!==', '<', '<=', '>', '>=']);
const COMPARING: ReadonlySet<string> = new Set([
  'startsWith',
  'endsWith',
  'includes',
  'indexOf',
  'lastIndexOf',
  'has',
  'get',
  'equals',
]);

/** The literals that a node compares something with. */
function comparedIn(node: AnyNode): (string | number)[] {
  let operands: (AnyNode | null | undefined)[] = [];
  if (node.type === 'BinaryExpression' && COMPARISONS.has(node.operator)) operands = [node.left, node.right];
  if (node.type === 'SwitchCase') operands = [node.test];
  if (node.type === 'CallExpression' && node.callee.type === 'MemberExpression') {
    const { property } = node.callee;
    if (property.type === 'Identifier' && COMPARING.has(property.name)) operands = node.arguments;
  }
  return operands.flatMap((operand) => {
    if (operand?.type !== 'Literal') return [];
    const { value } = operand;
    return typeof value === 'number' || (typeof value === 'string' && value !== '') ? [value] : [];
  });
}
