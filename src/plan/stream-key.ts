import { rangeName, strategyKey, type StreamKey, type StreamPlan } from '../protocol.js';
import { sourceIdentity } from '../sources/references.js';

/** Names the checkpoint of a stream; that of a range is kept beside the sync's. */
export const streamKey = (plan: StreamPlan): StreamKey => ({
  schema: plan.table.schema,
  table: plan.table.table,
  strategy: strategyKey(plan.options),
  source: sourceIdentity(plan.baseUrl),
  range: plan.range === undefined ? '' : rangeName(plan.range),
});
