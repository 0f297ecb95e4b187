import { workerData } from 'node:worker_threads';
import { codeOf, messageOf } from '../base/mod.ts';
import { ObjectChecker } from './check.ts';
import { EntryTable } from './entry-table.ts';
import { PackError } from './errors.ts';
import { WorkMeter } from './limits.ts';
import { gatheredBuffers, LinkCollector } from './links.ts';
import { ObjectNames } from './object-names.ts';
import { ObjectVisitor } from './object-visitor.ts';
import { SpoolSource } from './pack-source.ts';
import { DeltaResolver } from './resolve.ts';
import { type FromHelper, type HelperData, type HelperJob, type HelperResult, nextRoot } from './resolve-helper.ts';
import { giveBack, takeTools } from './tools.ts';

const { port, bell } = workerData as HelperData;

port.on('message', (job: HelperJob) => {
  const result = answer(job);
  // Given away: copies would stand beside what they are of.
  const given = result.kind === 'resolved' ? gatheredBuffers(result.links) : [];
  port.postMessage(result, given);
  Atomics.add(bell, 0, 1);
  Atomics.notify(bell, 0);
});

function answer(job: HelperJob): FromHelper {
  try {
    return resolveRoots(job);
  } catch (error) {
    // The others need not go on.
    Atomics.store(job.roots.taken, 0, job.roots.indexes.length);
    return { kind: 'failed', code: codeOf(error) ?? 'internal', message: messageOf(error) };
  }
}

/** As `PackIngest` does it for a pack, for those trees of deltas that this thread comes to. @throws PackError */
function resolveRoots({ fd, available, entries, links, roots, options, cutBytesMin, made, faulty }: HelperJob): HelperResult {
  const { format, severities, limits, detectCollisions } = options;
  const source = new SpoolSource(fd);
  source.grow(available);
  source.hold();
  const meter = new WorkMeter(limits);
  meter.grow(available);
  meter.countWith(made);
  const table = EntryTable.of(entries);
  const checker = new ObjectChecker(format, severities);
  const collector = new LinkCollector(format, limits);
  collector.reserve(table.count);
  const visitor = new ObjectVisitor(() => table, checker, collector, null, faulty);
  const names = new ObjectNames(format, detectCollisions ?? false, () => table, visitor);
  const tools = takeTools();
  let isSound = false;
  const left: number[] = [];
  let deltas = 0;
  try {
    const resolver = new DeltaResolver(table, source, limits, tools.inflater, meter, names, visitor, cutBytesMin, null, links);
    for (let root = nextRoot(roots); root >= 0; root = nextRoot(roots)) {
      try {
        deltas += resolver.resolveTree(root);
      } catch (error) {
        if (!(error instanceof PackError) || error.data.mustBeCut !== true) throw error;
        left.push(root);
      }
    }
    names.flush();
    isSound = true;
  } finally {
    names.clear();
    giveBack(tools, isSound);
  }
  const { gitmodules, gitattributes } = checker.dotFiles();
  return { kind: 'resolved', deltas, left, links: collector.gathered(), warnings: checker.warnings, gitmodules, gitattributes };
}
