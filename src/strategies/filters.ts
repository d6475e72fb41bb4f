/** Filters that are written in another format than the records have: seconds since 1970 over ISO 8601, or days. */
import type { Incremental } from '../protocol.js';
import { valuesOf } from './formats.js';
import { UnfollowableError } from './strategy.js';
import type { Asked, Clock, Values } from './values.js';

/** The values of a cursor field, with how they are asked for. */
export function cursorValues(incremental: Incremental | null | undefined): Values {
  const values = valuesOf(incremental?.format);
  const { filter } = incremental ?? {};
  if (filter === undefined) return values;
  const { first } = valuesOf(filter);
  // A time that is older than any record is no number of seconds that an API expects.
  return { ...values, first: first === null ? null : values.first, asked: askedIn(values, valuesOf(filter)) };
}

const HOUR = 3_600_000;
/** Values whose bound is kept: one is compared several times, and writing a pattern takes 20 µs. */
const REMEMBERED = 10_000;
const clockOf = ({ clock, what }: Values): Clock => {
  if (clock === null)
    throw new RangeError(`${what} cannot be requested in another format, because it is not a time`);
  return clock;
};

function askedIn(values: Values, filter: Values): Asked {
  const [records, asks] = [clockOf(values), clockOf(filter)];
  const unit = asks.unit(null);
  const lower = (instant: number) => asks.lower(instant, null);
  const text = (value: string) => lower(records.read(value));
  const known = new Map<string, number>();

  /** The instant that is asked for in place of a value: never a later one. */
  function instantFor(value: string): number {
    let instant = known.get(value);
    if (instant === undefined) {
      instant = asks.read(text(value));
      if (known.size >= REMEMBERED) known.clear();
      known.set(value, instant);
    }
    return instant;
  }

  const isAt = (value: string, instant: number) =>
    values.compare(value, records.write(instant, value)) === 0 && records.read(value) === instant;

  return {
    text,
    lower,
    unit,

    upper(instant) {
      // Clocks go forward and back by up to some hours, so that a day or an hour has more than its usual length.
      const steps = [0, unit, 2 * unit, unit + HOUR, unit + 3 * HOUR, 2 * unit + 24 * HOUR];
      const texts = steps.map((step) => asks.write(instant + step, null));
      return texts.find((one) => asks.read(one) >= instant) ?? texts.at(-1) ?? asks.write(instant, null);
    },

    apart(a, b) {
      const order = values.compare(a, b);
      const asked = order === 0 ? 0 : instantFor(a) - instantFor(b);
      // When a clock on the wall goes back, requested values may be in another order than the records'.
      return asked * order > 0 ? asked : 0;
    },

    meets: (value, asked) => isAt(value, instantFor(asked)),

    floor: (value) => records.lower(instantFor(value), value),

    beyond: (value) => records.write(instantFor(value) + unit, value),

    exact(value) {
      const written = asks.write(records.read(value), null);
      if (isAt(value, asks.read(written))) return written;
      throw new UnfollowableError(
        `the request for the next page needs the last record's cursor value, ${JSON.stringify(value.slice(0, 100))}, but names.format ` +
          `writes it as ${JSON.stringify(written)}, which is not the same value: "last_record" needs a format that loses nothing`,
      );
    },
  };
}
