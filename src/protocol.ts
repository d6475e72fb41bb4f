/** Plain data that all parts share, by subject. */
export * from './protocol/json.js';
export * from './protocol/strategies.js';
export * from './protocol/ranges.js';
export * from './protocol/tables.js';
export * from './protocol/children.js';
export * from './protocol/requests.js';
export * from './protocol/streams.js';
export * from './protocol/batches.js';
export * from './protocol/activities.js';
export * from './protocol/progress.js';
