/** The reference source: the API of the PyPI package `fivetran-api-playground`. */
import type { ColumnType, ReferenceStrategy, RequestSpec } from '../protocol.js';

export const REFERENCE_ORIGIN = 'http://127.0.0.1:5001';

/** The reference API has no path for replay, which reads the timestamp endpoint with a lookback. */
export const REFERENCE_PATHS: Record<ReferenceStrategy, string> = {
  keyset: '/pagination/keyset',
  offset: '/pagination/offset',
  timestamp: '/incremental/timestamp',
  step_size: '/incremental/step',
  replay: '/incremental/timestamp',
};
/** The path in the original script, for which the reference API returns 404. */
export const ORIGINAL_REPLAY_PATH = '/incremental/replay';

export const REFERENCE_COLUMNS: Record<string, ColumnType> = {
  id: 'STRING',
  name: 'STRING',
  email: 'STRING',
  address: 'STRING',
  company: 'STRING',
  job: 'STRING',
  updatedAt: 'UTC_DATETIME',
  createdAt: 'UTC_DATETIME',
};

/** Requests and answers of the reference API. */
export const REFERENCE_REQUEST: RequestSpec = {
  names: {},
  params: {},
  headers: {},
  auth: { type: 'none' },
  records: ['data'],
  next: { in: 'body', path: ['scroll_param'], isAddress: false },
  total: ['total'],
  more: null,
};
