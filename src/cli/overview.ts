/** What `highwater --help` says of the commands. The build writes it down: loading all commands takes half a second. */
import { readFileSync } from 'node:fs';

/** A command in the overview. */
export interface OverviewLine {
  /** Heading of its group. */
  group: string;
  name: string;
  /** The command with its arguments, as the help shows it. */
  term: string;
  description: string;
}

/** Name of the file, beside the bundle. */
export const OVERVIEW = 'overview.json';

/** Reads the overview; null if this is not the bundle. */
export function readOverview(): OverviewLine[] | null {
  try {
    return JSON.parse(readFileSync(new URL(OVERVIEW, import.meta.url), 'utf8')) as OverviewLine[];
  } catch {
    return null;
  }
}
