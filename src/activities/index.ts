import type { Context } from '@temporalio/activity';
import { InputRefusedError } from '../errors.js';
import { inputProblems } from '../inputs.js';
import { reporting } from './failures.js';
import type { Server } from './cluster.js';
import { fetchPages } from './fetch-pages.js';
import { openStream } from './open-stream.js';
import { concludeRange, forgetRange } from './ranges.js';
import { sendNotice } from './send-notice.js';
import { writeBatch } from './write-batch.js';
import type { DestinationHost } from '../destinations/host.js';
import type {
  FetchedPages,
  FetchPagesInput,
  OpenedStream,
  OpenStreamInput,
  RangeFound,
  RangeInput,
  Redirect,
  SendNoticeInput,
  StreamPlan,
  WriteBatchInput,
  WrittenBatch,
} from '../protocol.js';
import type { Surroundings } from '../surroundings.js';
import type { RequestInHand, RequestStarted } from '../sources/source.js';

/** What activities need of the worker that runs them. */
export interface Dependencies extends Surroundings {
  host: DestinationHost;
  /** The DuckDB file of a configuration that names none. */
  defaultDestination: string;
  server: Server;
  /** Gives what is told of a stream's requests. */
  observe?: (
    context: Context,
    plan: StreamPlan,
    destination: string,
  ) => (request: RequestStarted) => RequestInHand;
}

/** The activities of the workflow `sync`, by the names in its history. */
export interface Activities {
  openStream(input: OpenStreamInput): Promise<OpenedStream | Redirect>;
  fetchPages(input: FetchPagesInput): Promise<FetchedPages>;
  writeBatch(input: WriteBatchInput): Promise<WrittenBatch>;
  sendNotice(input: SendNoticeInput): Promise<void>;
  concludeRange(input: RangeInput): Promise<RangeFound>;
  forgetRange(input: Pick<RangeInput, 'plan' | 'destination'>): Promise<void>;
}

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
