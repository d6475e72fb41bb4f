import { setCurrentDetails } from '@temporalio/workflow';
import type { Json, Progress, SyncStatus } from '../protocol.js';
import { currentDetails } from './details.js';
import { SearchAttributes, type Findable } from './search-attributes.js';
import type { Gauges } from './gauges.js';

/** A state that lasts longer than this is shown in the search attributes at once. */
const SHOWN_AT_ONCE_MILLISECONDS = 10_000;

/** The values to show. */
export interface Shown {
  progress: Progress;
  cursor: { [name: string]: Json };
  /** Null where the namespace does not know the search attributes. */
  attributes: Findable | null;
}

/** The status of a sync, shown in the Web UI, in search attributes and as gauges. */
export class Display {
  status: SyncStatus = 'opening';
  /** The wait that goes on, whatever it is for. */
  waiting: Progress['waiting'] = null;
  private readonly attributes = new SearchAttributes();

  constructor(
    private readonly gauges: Gauges,
    private readonly collect: () => Shown,
  ) {}

  show(status: SyncStatus): void {
    this.status = status;
    const { progress, cursor, attributes } = this.collect();
    setCurrentDetails(currentDetails(progress, cursor, Date.now()));
    this.gauges.show(progress);
    if (attributes === null || status === 'opening') return;
    const milliseconds = this.waiting === null ? Infinity : Date.parse(this.waiting.until) - Date.now();
    this.attributes.show(attributes, status !== 'running' && milliseconds >= SHOWN_AT_ONCE_MILLISECONDS);
  }
}
