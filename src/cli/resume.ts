import type { Command } from 'commander';
import { controlCommand, hasFailedSince } from './control.js';

/** States that `resume` ends; a sync that opens its stream may fail again in a moment. */
const BEFORE = ['paused', 'blocked', 'failing', 'waiting', 'opening'];

export const resumeCommand = (): Command =>
  controlCommand({
    name: 'resume',
    description: 'Continue a paused sync, or retry one that is failing or blocked.',
    help: 'It also ends a wait that the source asked for, and the sleep between passes.',
    isDone: (now, before) => !BEFORE.includes(now.status) || hasFailedSince(now, before),
    said: (now, before) => (hasFailedSince(now, before) ? 'retried and failed again' : 'resumed'),
    later: 'asked to resume, but has not continued yet',
  });
