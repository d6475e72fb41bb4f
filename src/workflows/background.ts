import { isCancellation } from '@temporalio/workflow';

/** Runs work beside the workflow. A cancellation ends it; unhandled, that would fail the workflow task at every replay. */
export function runInBackground(work: () => Promise<void>): void {
  work().catch((thrown: unknown) => {
    if (!isCancellation(thrown)) throw thrown;
  });
}
