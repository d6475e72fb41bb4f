import type { Command } from 'commander';
import { decisionCommand } from './deciding.js';

export const rejectCommand = (): Command =>
  decisionCommand({
    name: 'reject',
    description: 'Keep the rows that a waiting pass would remove.',
    help:
      'The pass ends without removing any row and reports "deletes_rejected". The next pass asks again if the records are\n' +
      'still gone from the source. "highwater approve" removes the rows; "highwater resume" reads the source again.',
    said: (rows) => `rejected: the pass keeps ${rows}`,
  });
