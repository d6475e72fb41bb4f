/** Claims about a stream: who holds it, and where it stands. */
import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import type { StreamMove } from '../../../destinations/destination.js';
import { CheckpointConflictError, MoveRefusedError, StreamHeldError } from '../../../errors.js';
import type { Holder, StreamKey } from '../../../protocol.js';
import { COLUMNS, cursorAt, everyHolderRuns, holderOf, keyOf, thrownBy, type Suite } from '../tested.js';

export function streamClaims(suite: Suite): void {
  suite.describeInFull('a stream', () => {
    it('is opened the same again by every run of one chain', async () => {
      const first = await suite.stream.open('w1');
      expect(await suite.stream.open('w1')).toEqual(first);
      await suite.stream.write(first.checkpoint.id, 'c1', [{ id: '1' }]);
      expect((await suite.stream.open('w1')).checkpoint).toEqual({ id: 'c1', cursor: cursorAt('c1') });
      // Another run of the same chain: a continue-as-new, a retry.
      const holder = holderOf('w1');
      expect((await suite.stream.open('w1', { holder })).checkpoint.id).toBe('c1');
      expect(await suite.stream.write('c1', 'c2', [{ id: '2' }])).toEqual({ rows: 1, already: false });
    });

    it('opened by another chain of the same workflow makes what the one before has in hand stale', async () => {
      const before = await suite.stream.open('w1');
      await suite.stream.write(before.checkpoint.id, 'c1', [{ id: '1' }]);
      // It is not asked whether the workflow runs: it is this very one.
      const after = await suite.stream.open('w1', {
        holder: holderOf('w1', 'new-chain'),
        isRunning: everyHolderRuns,
      });
      expect(after.checkpoint.cursor).toEqual(cursorAt('c1'));
      expect(after.checkpoint.id).not.toBe('c1');
      expect(await thrownBy(suite.stream.write('c1', 'c2', [{ id: '2' }]))).toBeInstanceOf(
        CheckpointConflictError,
      );
      expect((await suite.stream.write(after.checkpoint.id, 'c3', [{ id: '3' }])).already).toBe(false);
    });

    it('held by another running workflow is refused with its name, and goes on undisturbed', async () => {
      const { checkpoint } = await suite.stream.open('the-first');
      const asked: Holder[] = [];
      const isRunning = async (holder: Holder) => {
        asked.push(holder);
        return true;
      };
      const thrown = await thrownBy(suite.stream.open('the-second', { isRunning, full: true }));
      expect(thrown).toBeInstanceOf(StreamHeldError);
      expect(thrown).toMatchObject({ holder: 'the-first' });
      expect(thrown.message).toContain('"the-first"');
      expect(thrown.message).toContain('--take-over');
      expect(asked.map((holder) => holder.workflowId)).toEqual(['the-first']);
      expect(await suite.stream.checkpoint('the-first')).toEqual(checkpoint);
      expect((await suite.stream.write(checkpoint.id, 'c1', [{ id: '1' }])).rows).toBe(1);
    });

    it('held by another running workflow keeps its rows and its key, also where the other one has another key', async () => {
      const { checkpoint } = await suite.stream.open('the-first');
      await suite.stream.write(checkpoint.id, 'c1', [{ id: '1', name: 'one' }]);
      const other = suite.streamOf({ ...suite.stream.table, primaryKey: ['name'] });
      const thrown = await thrownBy(other.open('the-second', { isRunning: everyHolderRuns, full: true }));
      expect(thrown).toBeInstanceOf(StreamHeldError);
      await suite.stream.write('c1', 'c2', [{ id: '1', name: 'changed' }, { id: '2' }]);
      expect((await suite.stream.rows()).map(({ name }) => name)).toEqual(['changed', null]);
    });

    it('of the same table by another strategy or source is refused too while its workflow runs', async () => {
      await suite.stream.open('the-first');
      for (const more of [{ strategy: 'offset' as const }, { source: 'http://elsewhere' }]) {
        const other = suite.streamOf(suite.stream.table, keyOf(suite.stream.table, more));
        const thrown = await thrownBy(other.open('the-second', { isRunning: everyHolderRuns }));
        expect(thrown).toBeInstanceOf(StreamHeldError);
      }
    });

    it("of another table is nobody else's business", async () => {
      await suite.stream.open('the-first');
      for (const table of [
        { ...suite.stream.table, table: `${suite.stream.table.table}2` },
        { ...suite.stream.table, schema: 'other' },
      ]) {
        const { checkpoint, neighbours } = await suite.streamOf(table).open('second', {
          isRunning: everyHolderRuns,
        });
        expect([checkpoint.cursor, neighbours]).toEqual([null, []]);
      }
    });

    it('opened by several running workflows at once is held by one of them', async () => {
      const names = ['a', 'b', 'c'];
      for (const keys of [
        [{}, {}, {}],
        [{ strategy: 'offset' }, {}, { source: 'http://x' }],
      ] as Partial<StreamKey>[][]) {
        const table = suite.tableOf(COLUMNS);
        const outcomes = await Promise.allSettled(
          names.map((name, i) =>
            suite.streamOf(table, keyOf(table, keys[i])).open(name, { isRunning: everyHolderRuns }),
          ),
        );
        expect(outcomes.filter((outcome) => outcome.status === 'fulfilled')).toHaveLength(1);
        for (const outcome of outcomes) {
          if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(StreamHeldError);
        }
      }
    });

    it('is taken over where that is asked for; the one before can write no more', async () => {
      const before = await suite.stream.open('the-first');
      await suite.stream.write(before.checkpoint.id, 'c1', [{ id: '1' }]);
      const after = await suite.stream.open('the-second', { takeOver: true, isRunning: everyHolderRuns });
      expect(after.checkpoint.cursor).toEqual(cursorAt('c1'));
      const thrown = await thrownBy(suite.stream.write('c1', 'c2', [{ id: '2' }]));
      expect(thrown).toBeInstanceOf(CheckpointConflictError);
      expect(thrown.message).toContain('"the-second"');
      expect((await suite.stream.write(after.checkpoint.id, 'c3', [{ id: '3' }])).rows).toBe(1);
      expect((await suite.stream.rows()).map((row) => row['id'])).toEqual(['1', '3']);
    });

    it('is taken over with every other strategy of its table', async () => {
      const offset = suite.streamOf(suite.stream.table, { ...suite.stream.key, strategy: 'offset' });
      const before = await offset.open('the-first');
      await offset.write(before.checkpoint.id, 'c1', [{ id: '1' }]);
      const after = await suite.stream.open('the-second', { takeOver: true, isRunning: everyHolderRuns });
      const thrown = await thrownBy(offset.write('c1', 'c2', [{ id: '2' }]));
      expect(thrown).toBeInstanceOf(CheckpointConflictError);
      expect(thrown.message).toContain('"the-second"');
      // Nobody else holds the table now, and the cursor of the other strategy is where it was.
      expect(await suite.stream.open('the-second', { isRunning: everyHolderRuns })).toEqual(after);
      expect((await offset.open('the-third')).checkpoint.cursor).toEqual(cursorAt('c1'));
    });

    it('of a workflow that has finished passes to the next one, which goes on from its cursor', async () => {
      const before = await suite.stream.open('the-first');
      await suite.stream.write(before.checkpoint.id, 'c1', [{ id: '1' }]);
      const after = await suite.stream.open('the-second');
      expect(after.checkpoint.cursor).toEqual(cursorAt('c1'));
      expect(after.checkpoint.id).not.toBe('c1');
      expect(after.database).toBe(before.database);
      // A write of the finished one that comes late.
      const thrown = await thrownBy(suite.stream.write('c1', 'c2', [{ id: 'late' }]));
      expect(thrown).toBeInstanceOf(CheckpointConflictError);
      expect((await suite.stream.rows()).map((row) => row['id'])).toEqual(['1']);
    });

    it('started over forgets its cursor once, not its rows, and not again when it is opened again', async () => {
      const before = await suite.stream.open('w1');
      await suite.stream.write(before.checkpoint.id, 'c1', [{ id: '1' }]);
      const holder = holderOf('w2');
      const full = await suite.stream.open('w2', { holder, full: true });
      expect(full.checkpoint.cursor).toBeNull();
      expect((await suite.stream.open('w2', { holder, full: true })).checkpoint).toEqual(full.checkpoint);
      await suite.stream.write(full.checkpoint.id, 'c2', [{ id: '2' }]);
      expect((await suite.stream.open('w2', { holder, full: true })).checkpoint).toEqual({
        id: 'c2',
        cursor: cursorAt('c2'),
      });
      expect(await suite.stream.rows()).toHaveLength(2);
    });

    it('is moved to any place where it stood, once, and what is in flight becomes stale', async () => {
      const { checkpoint } = await suite.stream.open();
      const made: string[] = [checkpoint.id];
      const commit = async (id: string, base = made.at(-1) ?? '') => {
        await suite.stream.write(base, id, [{ id }]);
        made.push(id);
      };
      const [a, b, c] = [`aa-${randomUUID()}`, `ab-${randomUUID()}`, randomUUID()] as const;
      for (const id of [a, b, c]) await commit(id);
      const before = await suite.tested.destination.history({ key: suite.stream.key, limit: 9 });
      expect(before.entries.map(({ id, rows, moved }) => [id, rows, moved])).toEqual([
        [c, 1, null],
        [b, 1, null],
        [a, 1, null],
      ]);
      expect(before.entries[1]).toMatchObject({ base: a, cursor: cursorAt(b), workflowId: 'w1', pages: 1 });
      expect(before.stored).toMatchObject({
        checkpoint: { id: c, cursor: cursorAt(c) },
        holder: { workflowId: 'w1' },
      });
      expect(Date.parse(before.stored?.since ?? '')).toBeGreaterThan(Date.now() - 60_000);
      // To a batch, by how its id begins.
      const move: StreamMove = { id: randomUUID(), to: { batch: b.slice(0, 8) }, said: 'rewound to b' };
      const moved = await suite.stream.open('w1', { move });
      expect(moved.checkpoint).toEqual({ id: move.id, cursor: cursorAt(b) });
      expect(await thrownBy(suite.stream.write(c, randomUUID(), [{ id: 'late' }]))).toBeInstanceOf(
        CheckpointConflictError,
      );
      // Again, as an attempt that comes late would: also once it has gone on from there.
      expect((await suite.stream.open('w1', { move })).checkpoint).toEqual(moved.checkpoint);
      const d = randomUUID();
      await suite.stream.write(move.id, d, [{ id: 'd' }]);
      expect((await suite.stream.open('w1', { move })).checkpoint).toEqual({ id: d, cursor: cursorAt(d) });
      // To a time: that of a commit is still it; forward, too.
      const entries = async () =>
        (await suite.tested.destination.history({ key: suite.stream.key, limit: 9 })).entries;
      const times = await entries();
      const timeOf = (id: string) => times.find((entry) => entry.id === id)?.at ?? '';
      const at = { id: randomUUID(), to: { time: timeOf(d) }, said: 'rewound to d' };
      expect((await suite.stream.open('w1', { move: at })).checkpoint).toEqual({
        id: at.id,
        cursor: cursorAt(d),
      });
      // To the start, by another workflow, and to a state.
      const start: StreamMove = { id: randomUUID(), to: { start: true }, said: 'started over' };
      expect((await suite.stream.open('w2', { move: start })).checkpoint).toEqual({
        id: start.id,
        cursor: null,
      });
      const set: StreamMove = { id: randomUUID(), to: { cursor: cursorAt('set') }, said: 'set' };
      expect((await suite.stream.open('w2', { move: set })).checkpoint).toEqual({
        id: set.id,
        cursor: cursorAt('set'),
      });
      const here: StreamMove = { id: randomUUID(), to: { here: true }, said: 'here' };
      expect((await suite.stream.open('w2', { move: here })).checkpoint).toEqual({
        id: here.id,
        cursor: cursorAt('set'),
      });
      const { entries: after, total } = await suite.tested.destination.history({
        key: suite.stream.key,
        limit: 5,
      });
      expect(total).toBe(9);
      expect(
        after.map(({ base, cursor, moved: said, workflowId }) => [base, cursor, said, workflowId]),
      ).toEqual([
        [set.id, cursorAt('set'), 'here', 'w2'],
        [start.id, cursorAt('set'), 'set', 'w2'],
        [at.id, null, 'started over', 'w2'],
        [d, cursorAt(d), 'rewound to d', 'w1'],
        [move.id, cursorAt(d), null, 'w1'],
      ]);
      expect(await suite.stream.rows()).toHaveLength(4);
    });

    it('is moved nowhere where it never stood, and stays as it was', async () => {
      const { checkpoint } = await suite.stream.open();
      for (const id of ['same-1', 'same-2'])
        await suite.stream.write(id === 'same-1' ? checkpoint.id : 'same-1', id, [{ id }]);
      const other = suite.streamOf(
        suite.stream.table,
        keyOf(suite.stream.table, { source: 'http://elsewhere' }),
      );
      const opened = await other.open();
      await other.write(opened.checkpoint.id, 'of-another', [{ id: '3' }]);
      const refused = async (to: StreamMove['to']) => {
        const thrown = await thrownBy(suite.stream.open('w2', { move: { id: randomUUID(), to, said: '' } }));
        expect(thrown).toBeInstanceOf(MoveRefusedError);
        return thrown.message;
      };
      expect(await refused({ batch: 'same-' })).toMatch(/several batches .* "same-"; give more letters/);
      expect(await refused({ batch: 'of-another' })).toMatch(/this stream has no batch "of-another"/);
      expect(await refused({ batch: '' })).toMatch(/this stream has no batch ""/);
      expect(await refused({ batch: "o'%_" })).toMatch(/this stream has no batch "o'%_"/);
      expect(await refused({ time: '2001-01-01T00:00:00Z' })).toMatch(
        /nothing was committed at or before 2001-01-01T00:00:00Z/,
      );
      expect(await suite.stream.checkpoint()).toEqual({ id: 'same-2', cursor: cursorAt('same-2') });
      expect(
        await suite.tested.destination.history({ key: keyOf(suite.tableOf(COLUMNS)), limit: 9 }),
      ).toEqual({
        stored: null,
        total: 0,
        entries: [],
      });
    });

    it('has a checkpoint for each strategy and source, and knows the others', async () => {
      const { checkpoint } = await suite.stream.open();
      await suite.stream.write(checkpoint.id, 'c1', [{ id: '1' }]);
      const offset = suite.streamOf(suite.stream.table, keyOf(suite.stream.table, { strategy: 'offset' }));
      const opened = await offset.open();
      expect(opened.checkpoint.cursor).toBeNull();
      expect(opened.neighbours).toEqual([suite.stream.key]);
      await offset.write(opened.checkpoint.id, 'o1', [{ id: '2' }]);
      expect((await suite.stream.open()).checkpoint).toEqual({ id: 'c1', cursor: cursorAt('c1') });
      expect((await suite.stream.open()).neighbours).toEqual([offset.key]);
      const elsewhere = suite.streamOf(
        suite.stream.table,
        keyOf(suite.stream.table, { source: 'http://o\'ther/"users"' }),
      );
      expect((await elsewhere.open()).neighbours).toHaveLength(2);
      expect((await elsewhere.open()).checkpoint.cursor).toBeNull();
    });
  });
}
