/** Destinations of extensions: their definitions, addresses in configurations, and what a worker's owner allows. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { plansFrom } from '../../src/config/index.js';
import { customAddress, holdsSecret } from '../../src/config/custom-address.js';
import { requireDestination } from '../../src/destinations/allowed.js';
import { type CustomDestination, wholeDestination } from '../../src/destinations/custom.js';
import { DestinationHost } from '../../src/destinations/host.js';
import { customOf } from '../../src/destinations/location.js';
import { DestinationError, NotAllowedError } from '../../src/errors.js';
import { defineDestination, type DestinationDefinition, loadExtensions } from '../../src/index.js';
import { SecretStore } from '../../src/secrets/store.js';
import { ReadSecrets } from '../../src/secrets/read-secrets.js';
import { TrustPolicy } from '../../src/trust/policy.js';

const nothing = (): CustomDestination => ({
  openStream: () => Promise.reject(new Error('not here')),
  write: () => Promise.reject(new DestinationError('the token sesame is refused')),
  history: () => Promise.resolve({ stored: null, total: 0, entries: [] }),
  close: () => Promise.resolve(),
});
const ledger = defineDestination({
  name: 'ledger',
  options: z.strictObject({ address: z.string().min(1, 'needs a place'), token: z.string().optional() }),
  open: nothing,
});
const extensions = await loadExtensions([ledger]);

const planOf = (destination: string, more: object = {}, loaded = extensions) =>
  plansFrom(
    {
      ...{ source: { base_url: 'http://x' }, destination },
      streams: [
        {
          ...{
            name: 'a',
            path: '/a',
            strategy: 'page_number',
            records: '$',
            primary_key: 'id',
            stamps: false,
          },
          ...{ columns: { id: 'LONG' }, ...more },
        },
      ],
    },
    'c.yaml',
    false,
    loaded,
  ).plans[0];

describe('a definition', () => {
  it.each([
    [{ ...ledger, name: 'L' }, /needs a "name" of lower-case letters/],
    [{ ...ledger, name: 'postgres' }, /is called postgres, as a built-in destination is/],
    [{ ...ledger, open: null }, /ledger needs a function "open"/],
    [{ ...ledger, features: ['magic'] }, /ledger needs "features" of append, children, deletes/],
    [{ ...ledger, options: {} }, /ledger needs "options", a Standard Schema/],
  ])('is refused: %#', async (definition, expected) => {
    await expect(loadExtensions([definition as DestinationDefinition])).rejects.toThrow(expected);
  });

  it('that another extension has added is refused', async () => {
    const twice = [ledger, ledger] as DestinationDefinition[];
    await expect(loadExtensions(twice)).rejects.toThrow(
      'adds the destination ledger, which another one adds, too',
    );
  });
});

describe('an address in a configuration', () => {
  it('is read in its parts; references stand as they are written', () => {
    expect(customAddress('ledger:./rows?token=${env:A_B}&x=a%20b&y')).toEqual({
      ...{ scheme: 'ledger', address: './rows' },
      params: [
        ['token', '${env:A_B}'],
        ['x', 'a b'],
        ['y', ''],
      ],
    });
    expect(customAddress('ledger:${file:/what?}/rows?x=${file:/a&b}')).toMatchObject({
      address: '${file:/what?}/rows',
      params: [['x', '${file:/a&b}']],
    });
  });

  it('is checked by the schema of the extension, unless it holds a reference', () => {
    expect(planOf('ledger:place')?.destination).toBe('ledger:place');
    expect(() => planOf('ledger:')).toThrow('destination: address: needs a place');
    expect(() => planOf('ledger:place?tokens=1')).toThrow(/destination: Unrecognized key: "tokens"/);
    expect(planOf('ledger:place?tokens=${env:X}')?.destination).toBe('ledger:place?tokens=${env:X}');
  });

  it.each(['ledger:place?token=sesame', 'ledger:place?password=sesame', 'ledger://me:sesame@host/x'])(
    'holds no secret: %s',
    (address) => {
      expect(holdsSecret(customAddress(address))).toBe(true);
      expect(() => planOf(address)).toThrow(/destination: contains a password, .* write "\$\{env:NAME\}"/);
      expect(() => planOf(address)).not.toThrow('sesame');
    },
  );

  it('of no extension is refused with what to do, and without the address', () => {
    expect(() => planOf('mysql://u:sesame@host/db')).toThrow(
      /begins with "mysql:", which is not a kind of destination; .*\(only ledger is loaded\), name the extension/,
    );
    expect(() => planOf('mysql://u:sesame@host/db')).not.toThrow('sesame');
    const none = { ...extensions, destinations: new Map() };
    expect(() => planOf('ledger:place', {}, none)).toThrow(/If an extension adds it \(none is loaded\)/);
  });

  it.each([
    [{ mode: 'append' }, 'mode: append is not supported by this destination'],
    [{ deletes: 'hard' }, 'deletes: this destination deletes no rows'],
    [{ misfits: 'quarantine' }, 'misfits: this destination keeps no quarantined records'],
    [{ misfits: 'evolve' }, 'misfits: this destination cannot infer columns: omit "misfits"'],
    [{ columns: undefined }, 'columns: this destination cannot infer columns: declare them'],
    [
      { children: { lines: { from: 'lines', index: 'n', include: { a_id: 'id' }, columns: { x: 'LONG' } } } },
      'children: this destination has no child tables: omit them',
    ],
    [{ stamps: true }, 'stamps: this destination does not store time and batch of a write'],
  ])('refuses what the destination does not declare: %j', (more, expected) => {
    expect(() => planOf('ledger:place', more)).toThrow(`streams[0].${expected}`);
    const all = new Map([
      [
        'ledger',
        {
          ...(ledger as DestinationDefinition),
          features: ['append', 'children', 'deletes', 'quarantine', 'inference', 'stamps'] as const,
        },
      ],
    ]);
    expect(planOf('ledger:place', more, { ...extensions, destinations: all })).toBeDefined();
  });
});

describe('a worker', () => {
  const environment = { TOKEN: 'sesame', PLACE: 'vault' };

  it('knows a destination by a name without secrets', () => {
    const found = customOf('ledger:${env:PLACE}/a?token=${env:TOKEN}', ledger, environment);
    expect(found.name).toBe('ledger:${env:PLACE}/a');
    expect(found.resolved).toBe('ledger:vault/a');
    expect(found.options).toEqual({ address: 'vault/a', token: 'sesame' });
    expect(found.mask('sesame')).not.toContain('sesame');
  });

  it('masks secrets in what a destination says', async () => {
    const whole = wholeDestination(nothing(), (text) => text.replaceAll('sesame', '•••'));
    const thrown: unknown = await whole.write({} as never).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(DestinationError);
    expect((thrown as Error).message).toBe('the token ••• is refused');
    await expect(whole.parents({} as never)).resolves.toBeNull();
  });

  it('opens a place once, and names a missing extension', async () => {
    let opened = 0;
    const counting: DestinationDefinition = {
      ...(ledger as DestinationDefinition),
      locate: () => 'one place',
      open: () => {
        opened++;
        return nothing();
      },
    };
    const secrets = new SecretStore(environment);
    const hostWith = (destinations: ReadonlyMap<string, DestinationDefinition>) =>
      new DestinationHost({
        ...{ taskQueue: 'q', address: '', namespace: '', environment, secrets, destinations },
        trust: TrustPolicy.local(environment),
        poll: () => Promise.resolve(() => Promise.resolve()),
      });
    const host = hostWith(new Map([['ledger', counting]]));
    const [a, b] = [await host.locate('ledger:a'), await host.locate('ledger:./a')];
    const claimed = await Promise.all([host.claim(a), host.claim(b)]);
    expect(claimed.map(({ queue }) => queue)).toEqual([claimed[0]?.queue, claimed[0]?.queue]);
    expect([a, opened]).toEqual(['ledger:one place', 1]);
    await host.close();
    await expect(hostWith(new Map()).locate('ledger:a')).rejects.toMatchObject({
      name: 'ExtensionMissingError',
      message: expect.stringContaining('--extension of a worker') as string,
    });
    secrets.close();
  });

  it('that trusts no configuration allows what its owner lists, and no more', () => {
    const known = new Map([['ledger', ledger as DestinationDefinition]]);
    const isAllowed = (address: string, listed: string, own = 'own.duckdb') => {
      const trust = TrustPolicy.of(
        { trust: 'none', allowDestinations: [listed] },
        { address: 'far:7233', destination: own },
        environment,
      );
      try {
        requireDestination(address, environment, trust, ReadSecrets.none, known);
        return true;
      } catch (thrown) {
        if (thrown instanceof NotAllowedError) return false;
        throw thrown;
      }
    };
    expect(isAllowed('ledger:rows/a', 'ledger:rows/*')).toBe(true);
    expect(isAllowed('ledger:rows/a/b', 'ledger:rows/*')).toBe(false);
    expect(isAllowed('ledger:other/a', 'ledger:rows/*')).toBe(false);
    expect(isAllowed('ledger:../a', 'ledger:**')).toBe(false);
    expect(isAllowed('ledger:rows/../../a', 'ledger:rows/**')).toBe(false);
    expect(isAllowed('ledger:rows/a', '**')).toBe(false);
    expect(isAllowed('ledger:mine', 'nothing', 'ledger:mine')).toBe(true);
    expect(isAllowed('ledger://169.254.169.254/latest', 'ledger:**')).toBe(false);
  });
});
