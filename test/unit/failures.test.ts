import { ApplicationFailure, TimeoutFailure, TimeoutType } from '@temporalio/common';
import { describe, expect, it } from 'vitest';
import { decideOn, readFailure, retrySeconds, type Situation } from '../../src/workflows/failure-policy.js';

const CONTINUOUS: Situation = { isContinuous: true, reopenings: 0, waitsForApproval: true };
const ONE_PASS: Situation = { ...CONTINUOUS, isContinuous: false };
const deletes = { table: 'main.user', how: 'removed', deletes: 30, rows: 100, allowed: 20, pass: 2 };

const failureOf = (type: string, ...details: unknown[]) =>
  readFailure(ApplicationFailure.create({ type, message: 'said', details }));
const decision = (type: string, situation: Situation, ...details: unknown[]) =>
  decideOn(failureOf(type, ...details), situation).kind;

describe('what follows from a failure', () => {
  it.each([
    ['BatchLostError', 'reopen', 'reopen'],
    ['DestinationElsewhereError', 'reopen', 'reopen'],
    ['TableGoneError', 'reopen', 'reopen'],
    ['SourceUnavailableError', 'retry', 'end'],
    ['DestinationBusyError', 'retry', 'end'],
    ['StorageFullError', 'retry', 'end'],
    ['DestinationGoneError', 'retry', 'end'],
    ['MalformedAnswerError', 'retry', 'end'],
    ['ContradictingAnswerError', 'retry', 'end'],
    ['SourceRefusedError', 'block', 'end'],
    ['ConfigurationError', 'block', 'end'],
    ['TypeError', 'block', 'end'],
    ['StreamHeldError', 'end', 'end'],
    ['CheckpointConflictError', 'end', 'end'],
    ['MoveRefused', 'end', 'end'],
  ])('%s: %s, or %s where the sync makes one pass', (type, continuous, onePass) => {
    expect([decision(type, CONTINUOUS), decision(type, ONE_PASS)]).toEqual([continuous, onePass]);
  });

  it('has lasted since its first attempt, where there was more than one', () => {
    const since = '2026-01-01T00:00:00.000Z';
    expect(failureOf('SourceUnavailableError', null, null, since)).toMatchObject({ since, opening: null });
    expect(failureOf('SourceUnavailableError').since).toBeNull();
  });

  it('is a reopening where the sync itself holds the stream, as the details say', () => {
    expect(decision('CheckpointConflictError', ONE_PASS, { ours: true })).toBe('reopen');
    expect(decision('CheckpointConflictError', CONTINUOUS, { ours: false })).toBe('end');
  });

  it('is a question about deletes where the sync waits for decisions, and else the end', () => {
    expect(decision('TooManyDeletesError', ONE_PASS, deletes)).toBe('ask');
    expect(decision('TooManyDeletesError', { ...CONTINUOUS, waitsForApproval: false }, deletes)).toBe('end');
  });

  it('is a reopening where no worker took the task, and a retry where one took too long', () => {
    const timeout = (type: TimeoutType) => readFailure(new TimeoutFailure('timed out', undefined, type));
    expect(decideOn(timeout(TimeoutType.SCHEDULE_TO_START), ONE_PASS)).toMatchObject({ kind: 'reopen' });
    expect(decideOn(timeout(TimeoutType.HEARTBEAT), CONTINUOUS)).toEqual({ kind: 'retry' });
    expect(decideOn(timeout(TimeoutType.HEARTBEAT), ONE_PASS)).toEqual({ kind: 'end' });
  });

  it('is shown after two reopenings in a row that did not help, and blocks after a thousand', () => {
    const reopening = (type: string, reopenings: number) =>
      decideOn(failureOf(type), { ...CONTINUOUS, reopenings });
    expect(reopening('TableGoneError', 0)).toEqual({ kind: 'reopen', seconds: 0, isShown: false });
    expect(reopening('TableGoneError', 1)).toEqual({ kind: 'reopen', seconds: 1, isShown: false });
    expect(reopening('TableGoneError', 2)).toEqual({ kind: 'reopen', seconds: 2, isShown: true });
    expect(reopening('BatchLostError', 9)).toEqual({ kind: 'reopen', seconds: 60, isShown: false });
    expect(reopening('TableGoneError', 1000)).toEqual({ kind: 'block' });
  });
});

it('waits longer after each failure, for five minutes at most', () => {
  const waits = [0, 1, 2, 3, 50].map((failures) => retrySeconds(3600, failures));
  expect(waits).toEqual([60, 120, 240, 300, 300]);
  expect(retrySeconds(5, 1)).toBe(10);
  expect(retrySeconds(null, 0)).toBe(60);
});
