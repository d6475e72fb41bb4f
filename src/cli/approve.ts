import type { Command } from 'commander';
import { decisionCommand } from './deciding.js';

export const approveCommand = (): Command =>
  decisionCommand({
    name: 'approve',
    description: 'Let a pass that waits remove the rows that it asks about.',
    help:
      'A pass that would remove more rows than "max_deletes" allows waits for this. No more rows go than it has asked\n' +
      'about: where it finds that more would, it asks again. "highwater reject" keeps them.',
    said: (rows) => `approved: ${rows} may go`,
  });
