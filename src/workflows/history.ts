import { workflowInfo } from '@temporalio/workflow';
import type { StreamState } from './stream-state.js';

/** Whether the workflow is to continue as new. */
export function isHistoryFull({ opened }: StreamState): boolean {
  const info = workflowInfo();
  return info.continueAsNewSuggested || info.historyLength >= (opened?.plan.historyLimit ?? Infinity);
}
