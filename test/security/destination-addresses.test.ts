/** The name of a destination's server must not lead to where a cloud gives the machine its credentials. */
import { createServer, type AddressInfo, type LookupFunction } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { postgresPool } from '../../src/destinations/postgres/pool.js';
import { S3Store } from '../../src/destinations/files/s3-store.js';
import { NotAllowedError } from '../../src/errors.js';
import { DestinationConnections } from '../../src/trust/connections.js';
import { TrustPolicy } from '../../src/trust/policy.js';
import { scratch } from '../helpers/harness.js';
import { thrownBy } from '../contract/tested.js';

const METADATA = { address: '169.254.169.254', family: 4 };

const resolvingTo =
  (...addresses: { address: string; family: number }[]): LookupFunction =>
  (_host, _options, callback) =>
    callback(null, addresses);

const connections = (...addresses: { address: string; family: number }[]) =>
  new DestinationConnections(TrustPolicy.local(), resolvingTo(...addresses));

let folder: Awaited<ReturnType<typeof scratch>>;
beforeAll(async () => {
  folder = await scratch();
});
afterAll(() => folder.remove());

describe('a name that resolves to a metadata address', () => {
  it('is refused as a PostgreSQL server', async () => {
    const pool = postgresPool('postgresql://me@db.internal/x', 1, connections(METADATA));
    const thrown = await thrownBy(pool.query('SELECT 1'));
    expect(thrown).toBeInstanceOf(NotAllowedError);
    expect(thrown.message).toContain('db.internal:5432');
    await pool.end();
  });

  it.each(['http', 'https'])('is refused as an S3 server, by %s', async (protocol) => {
    const bucket = {
      ...{ bucket: 'lake', prefix: '', endpoint: `${protocol}://s3.internal`, region: null, pathStyle: true },
    };
    process.env['AWS_ACCESS_KEY_ID'] ??= 'key';
    process.env['AWS_SECRET_ACCESS_KEY'] ??= 'secret';
    const thrown = await thrownBy(S3Store.open(bucket, folder.path, connections(METADATA)));
    expect(thrown.message).toMatch(
      /s3\.internal:(80|443), where the cloud provides the credentials of this machine/,
    );
  });
});

it('a name that has other addresses too is connected to by one of those', async () => {
  const server = createServer((socket) => socket.end('here'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const socket = connections(METADATA, { address: '127.0.0.1', family: 4 }).socket();
  const said = await new Promise<string>((resolve, reject) => {
    socket.once('data', (chunk) => resolve(chunk.toString())).once('error', reject);
    socket.connect(port, 'both.internal');
  });
  expect(said).toBe('here');
  socket.destroy();
  server.close();
});
