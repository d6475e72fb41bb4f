import { InputRefusedError } from '../errors.js';
import { inputProblems } from '../inputs.js';
import type { Activities, Dependencies } from './context.js';
import { reporting } from './failures.js';
import { fetchPages } from './fetch-pages.js';
import { openStream } from './open-stream.js';
import { concludeRange, forgetRange } from './ranges.js';
import { sendNotice } from './send-notice.js';
import { writeBatch } from './write-batch.js';

export type { Activities } from './context.js';

export function createActivities(dependencies: Dependencies): Activities {
  return {
    openStream: checked('openStream', openStream(dependencies)),
    fetchPages: checked('fetchPages', fetchPages(dependencies)),
    writeBatch: checked('writeBatch', writeBatch(dependencies)),
    sendNotice: checked('sendNotice', sendNotice(dependencies)),
    concludeRange: checked('concludeRange', concludeRange(dependencies)),
    forgetRange: checked('forgetRange', forgetRange(dependencies)),
  };
}

/** Checks the input of an activity before it runs: any client of the Temporal server may have sent it. */
function checked<Input, Result>(
  name: keyof Activities,
  activity: (input: Input) => Promise<Result>,
): (input: Input) => Promise<Result> {
  return async (input) => {
    const problems = inputProblems(name, input);
    if (problems === null) return activity(input);
    return reporting(() => Promise.reject(new InputRefusedError(`the input of ${name}`, problems)));
  };
}
