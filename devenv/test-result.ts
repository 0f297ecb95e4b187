/** A reporter for `node --test`: one line, "<passed> <failed> <skipped>", counted over all files. */
import type { EventData } from 'node:test';

interface TestEvent {
  readonly type: string;
  readonly data: EventData.TestSummary;
}

export default async function* countTests(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const { type, data } of events) {
    // a summary with a file is that file's own
    if (type !== 'test:summary' || data.file !== undefined) continue;
    const { tests, passed, skipped, todo } = data.counts;
    const failed = tests - passed - skipped - todo;
    // a suite can fail outside its tests
    yield `${passed} ${data.success ? failed : Math.max(1, failed)} ${skipped}\n`;
  }
}
