import { PackhouseError } from '../base/mod.ts';

/** An incoming pack that is not accepted: the message names the offset, the oid or the limit. */
export class PackError extends PackhouseError {
  constructor(message: string, data: Readonly<Record<string, unknown>> = {}, options?: ErrorOptions) {
    super('bad-pack', message, data, options);
    this.name = 'PackError';
  }
}

/** The words for every base that a repository cannot give, whatever the reason: whether someone else has it must not show. */
export function unresolvedDeltas(): PackError {
  return new PackError('pack has unresolved deltas');
}

/** A large blob is the job of a thread that can cut it. */
export function largeInline(): PackError {
  return new PackError('pack has a blob that is too large to be worked on here', { tooMuchWork: true, mustBeCut: true });
}
