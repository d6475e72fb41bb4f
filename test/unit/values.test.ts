import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CursorFormat } from '../../src/protocol.js';
import { cursorValues } from '../../src/strategies/filters.js';
import { valuesOf } from '../../src/strategies/index.js';
import { runs } from '../helpers/long.js';

const sign = (format: CursorFormat, a: string, b: string) => Math.sign(valuesOf(format).compare(a, b));
const clockOf = (format: CursorFormat) => {
  const { clock } = valuesOf(format);
  if (clock === null) throw new Error('has no clock');
  return clock;
};
const berlin: CursorFormat = { pattern: 'dd/MM/yyyy HH:mm:ss', zone: 'Europe/Berlin' };

describe('numbers', () => {
  it.each([
    ['9007199254740993', '9007199254740992', 1],
    ['9007199254740993', '18014398509481986', -1],
    ['-5', '3', -1],
    ['-5', '-50', 1],
    ['0', '-0', 0],
    ['007', '7', 0],
    ['100', '99', 1],
  ])('%s and %s are ordered as integers: %i', (a, b, order) => {
    expect(sign('integer', a, b)).toBe(order);
    expect(sign('integer', b, a)).toBe(0 - order);
  });

  it.each([
    ['1704067200', '1704067200.000', 0],
    ['1704067200.000000001', '1704067200', 1],
    ['1704067200.1', '1704067200.09', 1],
    ['1.7040672E9', '1704067200', 0],
    ['1.7040672001E9', '1704067200.1', 0],
    ['-0.5', '-0.25', -1],
    ['-1.5', '0', -1],
    ['17040672e2', '1704067200.5', -1],
    ['15e-1', '1.5', 0],
  ])('%s and %s are ordered as seconds since 1970: %i', (a, b, order) => {
    expect(sign('epoch_s', a, b)).toBe(order);
    expect(sign('epoch_s', b, a)).toBe(0 - order);
  });

  it.each([
    ['integer', '1.5'],
    ['integer', '1e3'],
    ['integer', ''],
    ['epoch_s', '2024-01-01'],
    ['epoch_s', '1e999'],
    ['epoch_s', '1e101'],
    ['epoch_ms', 'NaN'],
    ['epoch_ms', ' 1'],
    ['string', ''],
  ] as const)('%s: %j is no value', (format, text) => {
    expect(valuesOf(format).isValue(text)).toBe(false);
  });

  it.each([
    ['integer', '9007199254740993', 3, '9007199254740990'],
    ['integer', '2', 5, '-3'],
    ['epoch_s', '1704067200.125', 60, '1704067140.125'],
    ['epoch_s', '1704067200', 0.5, '1704067199'],
    ['epoch_s', '0.25', 1, '-0.75'],
    ['epoch_s', '-1.5', 1, '-2.5'],
    ['epoch_s', '1.7040672E9', 1, '1704067199'],
    ['epoch_ms', '1704067200123', 0.5, '1704067199623'],
    ['epoch_ms', '1704067200123.75', 1, '1704067199123.75'],
  ] as const)('%s: %s less %d is %s', (format, value, amount, less) => {
    expect(valuesOf(format).minus(value, amount)).toBe(less);
  });

  it.each([
    ['epoch_s', '1704067200.9999', 1_704_067_200_999],
    ['epoch_s', '-0.0001', -1],
    ['epoch_s', '-62135596800', -62_135_596_800_000],
    ['epoch_ms', '1704067200123.9', 1_704_067_200_123],
    ['epoch_ms', '-1.5', -2],
  ] as const)('%s: %s is the instant %d, rounded down', (format, value, instant) => {
    expect(clockOf(format).read(value)).toBe(instant);
  });

  it('write an instant rounded down, also before 1970', () => {
    expect(clockOf('epoch_s').write(1_704_067_200_999, null)).toBe('1704067200');
    expect(clockOf('epoch_s').write(-1, null)).toBe('-1');
    expect(clockOf('epoch_ms').write(-1, null)).toBe('-1');
    expect([clockOf('epoch_s').unit(null), clockOf('epoch_ms').unit(null)]).toEqual([1000, 1]);
  });

  it('are taken off exactly, whatever their size', () => {
    fc.assert(
      fc.property(fc.bigInt(), fc.nat(1e9), fc.nat(999_999), (whole, amount, micros) => {
        const fraction = String(micros).padStart(6, '0');
        const less = valuesOf('epoch_s').minus(`${String(whole)}.${fraction}`, amount);
        const scaled = (text: string) => BigInt(text.replace('.', ''));
        expect(scaled(`${String(whole)}.${fraction}`) - scaled(less)).toBe(BigInt(amount) * 1_000_000n);
      }),
    );
  });
});

describe('timestamps', () => {
  it.each([
    ['2024-01-01T00:00:00Z', '2024-06-01T12:34:56Z'],
    ['2024-01-01 00:00:00.000000+02:00', '2024-06-01 14:34:56.789000+02:00'],
    ['2024-01-01T00:00:00.0Z', '2024-06-01T12:34:56.7Z'],
    ['2024-01-01', '2024-06-01'],
    [null, '2024-06-01T12:34:56Z'],
  ])('are written like %s', (like, text) => {
    expect(clockOf('timestamp').write(Date.parse('2024-06-01T12:34:56.789Z'), like)).toBe(text);
  });

  it.each([
    ['2024-01-01', 86_400_000],
    ['2024-01-01T00:00:00Z', 1000],
    ['2024-01-01T00:00:00.0Z', 100],
    ['2024-01-01T00:00:00.000000Z', 1],
  ])('like %s show no less than %d ms', (like, unit) => {
    expect(clockOf('timestamp').unit(like)).toBe(unit);
  });

  it('are read as instants, rounded down to milliseconds, also before 1970', () => {
    const { read } = clockOf('timestamp');
    expect(read('2024-01-01T01:00:00.123999+01:00')).toBe(Date.parse('2024-01-01T00:00:00.123Z'));
    expect(read('1969-12-31T23:59:59.9999Z')).toBe(-1);
  });
});

describe('patterns', () => {
  it('are ordered as the times that they are, not as texts, over the ends of years and in words', () => {
    expect(sign(berlin, '31/12/2023 23:59:59', '01/01/2024 00:00:00')).toBe(-1);
    expect(sign({ pattern: 'd MMM yyyy', zone: 'UTC' }, '9 Feb 2024', '10 Jan 2024')).toBe(1);
    expect(
      sign({ pattern: 'hh:mm a, MM-dd-yyyy', zone: 'UTC' }, '12:30 AM, 01-02-2024', '01:00 AM, 01-02-2024'),
    ).toBe(-1);
    const zoned: CursorFormat = { pattern: "yyyy-MM-dd'T'HH:mmZZ", zone: 'UTC' };
    expect(sign(zoned, '2024-01-01T01:00+01:00', '2024-01-01T00:00+00:00')).toBe(0);
    const fine: CursorFormat = { pattern: 'dd/MM/yyyy HH:mm:ss.u', zone: 'UTC' };
    expect(sign(fine, '01/01/2024 00:00:00.123456', '01/01/2024 00:00:00.123457')).toBe(-1);
  });

  it.each(['2024-01-01', '31/02/2024 00:00:00', '01/01/2024 24:00:01', '', '01/01/2024 00:00:00 '])(
    '%j is no value of dd/MM/yyyy HH:mm:ss',
    (text) => {
      expect(valuesOf(berlin).isValue(text)).toBe(false);
    },
  );

  it('are bounds in their zone, in summer and in winter', () => {
    const { read, write } = clockOf(berlin);
    expect(write(Date.parse('2024-07-01T12:00:00.999Z'), null)).toBe('01/07/2024 14:00:00');
    expect(write(Date.parse('2023-12-31T23:30:00Z'), null)).toBe('01/01/2024 00:30:00');
    expect(read('01/07/2024 14:00:00')).toBe(Date.parse('2024-07-01T12:00:00Z'));
    expect(read('01/01/2024 00:30:00')).toBe(Date.parse('2023-12-31T23:30:00Z'));
  });

  it('take an hour that comes twice for the first one when read, and are set before it as a lower bound', () => {
    const { read, write, lower } = clockOf(berlin);
    const [first, second] = [Date.parse('2024-10-27T00:30:00Z'), Date.parse('2024-10-27T01:30:00Z')];
    expect([write(first, null), write(second, null)]).toEqual(['27/10/2024 02:30:00', '27/10/2024 02:30:00']);
    expect(read('27/10/2024 02:30:00')).toBe(first);
    expect(lower(first, null)).toBe('27/10/2024 01:30:00');
    expect(lower(second, null)).toBe('27/10/2024 02:30:00');
  });

  it('take an hour that never comes for one before the gap', () => {
    expect(clockOf(berlin).read('31/03/2024 02:30:00')).toBe(Date.parse('2024-03-31T00:30:00Z'));
  });

  it('never give a lower bound that any reading of it takes for later, nor a lookback', () => {
    const zones = ['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu', 'UTC'];
    const values = Object.fromEntries(
      zones.map((zone) => [zone, valuesOf({ pattern: 'yyyy-MM-dd HH:mm:ss', zone })]),
    );
    /** Every instant at which a clock on the wall of that zone shows the text. */
    const readings = (text: string, zone: string): number[] => {
      const wall = Date.parse(`${text.replace(' ', 'T')}Z`);
      const shown = new Intl.DateTimeFormat('sv-SE', {
        timeZone: zone,
        dateStyle: 'short',
        timeStyle: 'medium',
      });
      const offsets = Array.from({ length: 30 * 4 }, (_, quarter) => (quarter - 60) * 900_000);
      return offsets.map((offset) => wall - offset).filter((instant) => shown.format(instant) === text);
    };
    fc.assert(
      fc.property(
        fc.constantFrom(...zones),
        fc.constantFrom(
          '2024-10-27T00:00:00Z',
          '2024-03-31T00:00:00Z',
          '2024-11-03T05:00:00Z',
          '2024-04-06T14:00:00Z',
        ),
        fc.integer({ min: -14_400, max: 14_400 }),
        fc.integer({ min: 1, max: 7200 }),
        (zone, near, seconds, lookback) => {
          const { clock, minus, compare } = values[zone] ?? valuesOf();
          if (clock === null) throw new Error('has no clock');
          const instant = Date.parse(near) + seconds * 1000;
          const text = clock.lower(instant, null);
          const found = readings(text, zone);
          expect(found.length).toBeGreaterThan(0);
          for (const reading of found) expect(reading).toBeLessThanOrEqual(instant);
          const shown = clock.write(instant, null);
          const less = minus(shown, lookback);
          expect(compare(less, shown)).toBeLessThan(0);
          for (const reading of readings(less, zone)) {
            expect(reading).toBeLessThanOrEqual(Math.min(...readings(shown, zone)) - lookback * 1000);
          }
        },
      ),
      { numRuns: runs(300) },
    );
  });

  it.each([
    [{ pattern: 'HH:mm', zone: 'UTC' }, 'cannot be read back'],
    [{ pattern: 'yyyy-MM', zone: 'UTC' }, 'cannot be read back'],
    [{ pattern: 'yyyy-MM-dd hh:mm', zone: 'UTC' }, 'cannot be read back'],
    [{ pattern: 'X', zone: 'UTC' }, 'cannot be read back'],
    [{ pattern: '', zone: 'UTC' }, 'cannot be read back'],
    [{ pattern: 'yyyy-MM-ddTHH:mm:ss', zone: 'UTC' }, 'in quotes: '],
    [{ pattern: 'yyyy-MM-dd', zone: 'Middle/Earth' }, 'is not a time zone'],
    [{ pattern: 'yyyy-MM-dd', zone: 'local' }, 'is not a time zone'],
    [{ pattern: 'yyyy-MM-dd', zone: 'system' }, 'is not a time zone'],
  ])('%j cannot be used', (format, message) => {
    expect(() => valuesOf(format)).toThrow(message);
  });
});

describe('times as in RFC 2822', () => {
  it.each([
    ['Tue, 01 Jul 2025 10:00:00 +0200', '2025-07-01T08:00:00Z'],
    ['1 Jul 2025 10:00:00 GMT', '2025-07-01T10:00:00Z'],
    ['Tue, 1 Jul 2025 10:00 -0330', '2025-07-01T13:30:00Z'],
    ['Tue, 01 Jul 2025 10:00:00 EDT', '2025-07-01T14:00:00Z'],
    ['Tue, 01 Jul 2025 10:00:00 +0200 (CEST)', '2025-07-01T08:00:00Z'],
    ['Sunday, 06-Nov-94 08:49:37 GMT', '1994-11-06T08:49:37Z'],
    ['tue, 01 jul 2025 10:00:00 z', '2025-07-01T10:00:00Z'],
    ['Thu, 29 Feb 2024 00:00:00 +0000', '2024-02-29T00:00:00Z'],
  ])('%s is %s', (text, instant) => {
    expect(valuesOf('rfc_2822').isValue(text)).toBe(true);
    expect(clockOf('rfc_2822').read(text)).toBe(Date.parse(instant));
  });

  it.each([
    '2025-07-01T10:00:00Z',
    'Tue, 31 Jun 2025 10:00:00 +0200',
    'Tue, 29 Feb 2025 10:00:00 +0200',
    'Xyz, 01 Jul 2025 10:00:00 +0200',
    'Tue, 01 Jul 2025 24:00:00 +0200',
    'Tue, 01 Jul 2025 10:00:00 +0260',
    'Tue, 01 Jul 2025 10:00:00 XYZ',
    '',
  ])('%j is none', (text) => {
    expect(valuesOf('rfc_2822').isValue(text)).toBe(false);
  });

  it('are ordered as instants, not as texts', () => {
    expect(sign('rfc_2822', 'Wed, 31 Dec 2025 23:00:00 -0500', 'Thu, 01 Jan 2026 00:00:00 GMT')).toBe(1);
    expect(sign('rfc_2822', 'Tue, 01 Jul 2025 10:00:00 +0200', '1 Jul 2025 08:00:00 GMT')).toBe(0);
    expect(sign('rfc_2822', 'Tue, 30 Jun 2015 23:59:60 GMT', 'Wed, 01 Jul 2015 00:00:00 GMT')).toBe(-1);
  });

  it('are computed as they are written', () => {
    const { minus } = valuesOf('rfc_2822');
    expect(minus('Tue, 01 Jul 2025 00:00:05 +0200', 10)).toBe('Mon, 30 Jun 2025 23:59:55 +0200');
    expect(minus('1 Jul 2025 10:00 EST', 61)).toBe('1 Jul 2025 09:58 EST');
    const { write, unit } = clockOf('rfc_2822');
    expect(write(Date.parse('2025-07-01T08:00:00.999Z'), null)).toBe('Tue, 01 Jul 2025 08:00:00 +0000');
    expect(write(Date.parse('2025-07-01T08:00:00Z'), 'Sun, 1 Jan 2023 00:00:00 +0530')).toBe(
      'Tue, 1 Jul 2025 13:30:00 +0530',
    );
    expect([unit(null), unit('1 Jul 2025 10:00 EST')]).toEqual([1000, 60_000]);
  });

  it('are read by a pattern too, where all are written alike', () => {
    const format: CursorFormat = { pattern: 'EEE, dd MMM yyyy HH:mm:ss ZZZ', zone: 'UTC' };
    expect(clockOf(format).read('Tue, 01 Jul 2025 10:00:00 +0200')).toBe(Date.parse('2025-07-01T08:00:00Z'));
  });
});

describe('a filter in another format', () => {
  const asked = (format: CursorFormat, filter: CursorFormat) => {
    const found = cursorValues({ start: null, lookbackSeconds: 0, format, filter }).asked;
    if (found === undefined) throw new Error('has no format of its own');
    return found;
  };
  const days: CursorFormat = { pattern: 'yyyy-MM-dd', zone: 'UTC' };

  it.each<[CursorFormat, CursorFormat, string, string]>([
    ['timestamp', 'epoch_s', '2025-07-01T10:00:00.999+02:00', '1751356800'],
    ['timestamp', 'epoch_ms', '2025-07-01T10:00:00.999+02:00', '1751356800999'],
    ['epoch_ms', 'timestamp', '1751356800999', '2025-07-01T08:00:00Z'],
    ['rfc_2822', days, 'Tue, 01 Jul 2025 01:00:00 +0200', '2025-06-30'],
    ['rfc_2822', { ...days, zone: 'Europe/Berlin' }, 'Tue, 01 Jul 2025 01:00:00 +0200', '2025-07-01'],
    [berlin, 'epoch_s', '01/07/2025 10:00:00', '1751356800'],
    ['timestamp', 'timestamp', '2025-07-01T10:00:00.999+02:00', '2025-07-01T08:00:00Z'],
  ])('%j as %j: %s is asked for as %s', (format, filter, value, text) => {
    expect(asked(format, filter).text(value)).toBe(text);
  });

  it('rounds lower bounds down and upper bounds up', () => {
    const { lower, upper } = asked('timestamp', days);
    const noon = Date.parse('2025-07-01T12:00:00Z');
    const midnight = Date.parse('2025-07-01T00:00:00Z');
    expect([lower(noon), upper(noon)]).toEqual(['2025-07-01', '2025-07-02']);
    expect([lower(midnight), upper(midnight), upper(midnight + 1)]).toEqual([
      '2025-07-01',
      '2025-07-01',
      '2025-07-02',
    ]);
    // A day of 25 hours.
    const inBerlin = asked('timestamp', { ...days, zone: 'Europe/Berlin' });
    expect(inBerlin.upper(Date.parse('2024-10-26T22:30:00Z'))).toBe('2024-10-28');
    const seconds = asked('timestamp', 'epoch_s');
    expect([seconds.lower(1500), seconds.upper(1500), seconds.upper(1000)]).toEqual(['1', '2', '1']);
  });

  it('says where a bound cannot show a value exactly', () => {
    expect(asked('timestamp', 'epoch_ms').exact('2025-07-01T08:00:00.999Z')).toBe('1751356800999');
    expect(() => asked('timestamp', 'epoch_s').exact('2025-07-01T08:00:00.999Z')).toThrow('not the same');
    expect(() => asked('timestamp', 'epoch_ms').exact('2025-07-01T08:00:00.9999Z')).toThrow('not the same');
  });
});
