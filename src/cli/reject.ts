import type { Command } from 'commander';
import { decisionCommand } from './deciding.js';

export const rejectCommand = (): Command =>
  decisionCommand({
    name: 'reject',
    description: 'Keep the rows that a pass which waits would remove.',
    help:
      'The pass ends without removing any, with the note "deletes_rejected"; the next one asks again if they are still\n' +
      'gone from the source. "highwater approve" lets them go, "highwater resume" reads the source again.',
    said: (rows) => `rejected: ${rows} stay`,
  });
