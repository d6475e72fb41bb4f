/** Syncs as Temporal knows them: their ids, their task queue, and the texts that its Web UI shows. */
import { hashOf, type Plans } from './config/index.js';
import { strategyName, type StreamPlan } from './protocol.js';
import { sourceIdentity } from './sources/references.js';

/** The task queue that workers take syncs from unless told otherwise. */
export const DEFAULT_TASK_QUEUE = 'highwater';

/** Returns the same id for the same streams, strategies, sources and destination. @internal */
export function defaultWorkflowId({ plans, shape }: Plans, destination?: string): string {
  const what = plans.map((plan) => {
    const { schema, table } = plan.table;
    return [destination ?? plan.destination, schema, table, sourceIdentity(plan.baseUrl)];
  });
  const [first] = plans;
  if (plans.length > 1 || first === undefined) return `${shape.name ?? 'sync'}-${hashOf(what)}`;
  return `${shape.name ?? `${first.stream}-${strategyName(first.options)}`}-${hashOf(what[0])}`;
}

/** Details of a sync that the Web UI always shows. @internal */
export const described = (plans: Plans): { staticSummary: string; staticDetails: string } => ({
  staticSummary: plans.plans.length > 1 ? severalSummary(plans) : streamSummary(plans),
  staticDetails: detailsOf(plans.plans),
});

/** Bytes; Temporal refuses to start a workflow with more than 20,000. */
const DETAILS_LIMIT = 18_000;

function detailsOf(plans: readonly StreamPlan[]): string {
  const lines: string[] = [];
  let bytes = 0;
  for (const line of plans.map(streamDetails)) {
    bytes += Buffer.byteLength(line) + 2;
    if (bytes > DETAILS_LIMIT)
      return [...lines, `… and ${plans.length - lines.length} more streams.`].join('\n\n');
    lines.push(line);
  }
  return lines.join('\n\n');
}

const streamSummary = ({ plans }: Plans) =>
  plans
    .map((plan) => `${plan.stream} · ${strategyName(plan.options)} · ${sourceIdentity(plan.baseUrl)}`)
    .join(', ');

const severalSummary = ({ plans, shape }: Plans) =>
  `${shape.name ?? 'sync'} · ${plans.length} streams: ${plans.map((plan) => plan.stream).join(', ')}`.slice(
    0,
    200,
  );

export const streamDetails = (plan: StreamPlan) =>
  `Table \`${plan.table.schema}.${plan.table.table}\`, by the strategy \`${strategyName(plan.options)}\`, ` +
  `from \`${sourceIdentity(plan.baseUrl)}\`.`;
