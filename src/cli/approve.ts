import type { Command } from 'commander';
import { decisionCommand } from './deciding.js';

export const approveCommand = (): Command =>
  decisionCommand({
    name: 'approve',
    description: 'Let a waiting pass remove the rows that it asks about.',
    help:
      'A pass that would remove more rows than "max_deletes" allows waits for this decision. It never removes more rows\n' +
      'than it asked about: if it finds more, it asks again. "highwater reject" keeps the rows.',
    said: (rows) => `approved: the pass may remove ${rows}`,
  });
