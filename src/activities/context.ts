import type { Context } from '@temporalio/activity';
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
import type { KeptRequests } from '../sources/in-flight.js';
import type { RequestObserver, RequestStarted } from '../sources/source.js';
import type { Surroundings } from '../surroundings.js';
import type { Server } from './cluster.js';
import type { SearchAttributeRegistry } from './search-attributes.js';
import type { WriteTurns } from './write-turns.js';

/** The parts of a worker that its activities use. */
export interface Dependencies extends Surroundings {
  host: DestinationHost;
  /** The DuckDB file of a configuration that names none. */
  defaultDestination: string;
  server: Server;
  searchAttributes: SearchAttributeRegistry;
  kept: KeptRequests;
  turns: WriteTurns;
  /** The clock by which passes begin; absent: the machine's. */
  now?: () => Date;
  /** Returns the observer of a stream's requests. */
  observe?: (
    context: Context,
    plan: StreamPlan,
    destination: string,
  ) => (request: RequestStarted) => RequestObserver;
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
