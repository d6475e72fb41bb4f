/** Times written in a pattern of their own, such as "dd/MM/yyyy HH:mm:ss", in a zone that the text need not name. */
import { DateTime, FixedOffsetZone, IANAZone, type Zone } from 'luxon';
import type { Values } from './values.js';

/** Names of months and days are English, whatever the machine speaks. */
const LOCALE = { locale: 'en-US', numberingSystem: 'latn' } as const;
const DAY = 86_400_000;
const UNITS = [1, 1000, 60_000, 3_600_000, DAY];
/** Texts whose meaning is kept: a text is looked at several times, and reading one takes 15 µs. */
const REMEMBERED = 10_000;
/** Every field differs from its default, and the hour from that of a twelve-hour clock. */
const SAMPLE = DateTime.fromISO('2023-11-25T17:45:56.789Z', { zone: 'utc', ...LOCALE });

/** The zone of that name. @throws {RangeError} also for names that mean another zone on another machine. */
function zoneOf(name: string): Zone {
  if (IANAZone.isValidZone(name)) return IANAZone.create(name);
  const fixed = FixedOffsetZone.parseSpecifier(name);
  if (fixed !== null) return fixed;
  throw new RangeError(
    `${JSON.stringify(name)} is not a time zone such as "Europe/Berlin", "UTC" or "UTC+2"`,
  );
}

/** The unit in milliseconds down to which the pattern tells a time. */
function unitOf(pattern: string): number {
  const back = DateTime.fromFormat(SAMPLE.toFormat(pattern), pattern, { zone: 'utc', ...LOCALE }).toMillis();
  const unit = UNITS.find((one) => back === Math.floor(SAMPLE.toMillis() / one) * one);
  if (unit === undefined)
    throw new RangeError(
      `${JSON.stringify(pattern)} does not describe a time: what it writes cannot be read back`,
    );
  return unit;
}

/**
 * If the pattern names no zone, texts are compared as the clock on the wall shows them, which is what a source does
 * that stores them so. In the hour that a zone has twice they do not tell which is meant: bounds are then set before it.
 *
 * @throws {RangeError} for a pattern or a zone that cannot be used.
 */
export function patternValues({ pattern, zone: name }: { pattern: string; zone: string }): Values {
  const zone = zoneOf(name);
  const bare = pattern.replace(/'[^']*'/g, '');
  if (/[DtTfF]/.test(bare)) {
    throw new RangeError(
      `${JSON.stringify(pattern)} contains D, t, T, f or F, which are localized formats; put literal ` +
        `letters in quotes: yyyy-MM-dd'T'HH:mm:ss`,
    );
  }
  // Names of zones are of any letters and length: where several follow each other, a text can be read in too many ways.
  if ((bare.match(/z+/g) ?? []).length > 1)
    throw new RangeError(`${JSON.stringify(pattern)} contains the time zone more than once`);
  const unit = unitOf(pattern);
  const parser = DateTime.buildFormatParser(pattern, LOCALE);
  const namesZone = /[zZ]/.test(bare);
  /** Digits after the third stand in the text only, and are compared there. */
  const isFiner = bare.includes('u');
  const known = new Map<string, number | null>();

  /** The time on the wall clock, or the instant if the text names a zone; in milliseconds since 1970. */
  function shown(text: string): number | null {
    let milliseconds = known.get(text);
    if (milliseconds === undefined) {
      const read = DateTime.fromFormatParser(text, parser, { zone: 'utc', ...LOCALE });
      milliseconds = read.isValid ? read.toMillis() : null;
      if (known.size >= REMEMBERED) known.clear();
      known.set(text, milliseconds);
    }
    return milliseconds;
  }

  function readable(text: string): number {
    const milliseconds = shown(text);
    if (milliseconds !== null) return milliseconds;
    throw new RangeError(`${JSON.stringify(text.slice(0, 100))} does not match ${pattern}`);
  }

  const offset = (instant: number): number => zone.offset(instant) * 60_000;

  /**
   * When the clock shows that: one instant, or two in the hour that comes twice; that before the gap where it never
   * does.
   */
  function instantsOf(wall: number): number[] {
    const near = [wall - DAY, wall + DAY].map((instant) => wall - offset(instant));
    const exact = near.filter((instant) => instant + offset(instant) === wall);
    return exact.length > 0 ? exact : [Math.min(...near)];
  }

  const write = (instant: number): string =>
    namesZone
      ? DateTime.fromMillis(Math.floor(instant), { zone, ...LOCALE }).toFormat(pattern)
      : DateTime.fromMillis(Math.floor(instant) + offset(instant), { zone: 'utc', ...LOCALE }).toFormat(
          pattern,
        );

  const read = (text: string): number =>
    namesZone ? readable(text) : Math.min(...instantsOf(readable(text)));

  function lower(instant: number): string {
    const latest = namesZone ? instant : Math.max(instant, ...instantsOf(instant + offset(instant)));
    return write(instant - (latest - instant));
  }

  return {
    what: `a time written as ${pattern}`,
    first: null,
    isValue: (text) => shown(text) !== null,
    compare(a, b) {
      if (a === b) return 0;
      const order = readable(a) - readable(b);
      return order !== 0 || !isFiner ? order : a < b ? -1 : 1;
    },
    minus: (text, seconds) => lower(read(text) - Math.ceil(seconds) * 1000),
    clock: { read, write, lower, unit: () => unit },
  };
}
