import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import ipaddr from 'ipaddr.js';
import { glob } from './patterns.js';

type Address = ReturnType<typeof ipaddr.parse>;

/** The word that lists all public addresses. */
export const PUBLIC = 'public';

/** Addresses at which clouds give a machine its credentials. */
const METADATA_ADDRESSES = [
  '169.254.169.254',
  'fd00:ec2::254',
  // Roles of containers on AWS.
  '169.254.170.2',
  '169.254.170.23',
  'fd00:ec2::23',
  // Google by IPv6; Alibaba; Tencent; Oracle; Azure's own.
  'fd20:ce::254',
  '100.100.100.200',
  '169.254.0.23',
  '192.0.0.192',
  '168.63.129.16',
].map((address) => ipaddr.parse(address).toNormalizedString());
const METADATA_NAMES = [
  'metadata',
  'metadata.google.internal',
  'metadata.goog',
  'instance-data',
  'instance-data.ec2.internal',
  'metadata.tencentyun.com',
  'metadata.platformequinix.com',
];

interface Rule {
  /** Absent: any. */
  port?: number;
  matches: (host: string, address: Address | null) => boolean;
  /** The one host or address that the entry names; null for a pattern. */
  only: string | null;
}

/** One list of hosts: names with `*`, addresses, ranges of addresses, and `public`; each may have a port. */
export class HostList {
  private readonly rules: Rule[];

  /** @throws {Error} for an entry that names no host. */
  constructor(private readonly entries: readonly string[]) {
    this.rules = entries.map(ruleOf);
  }

  get text(): string {
    return this.entries.join(',');
  }

  /** Whether a host is listed: by its name, or by an address that it has. */
  has(host: string, port: number, address: string | null): boolean {
    const parsed = address === null ? null : unwrapped(address);
    return this.rules.some(
      (rule) => (rule.port === undefined || rule.port === port) && rule.matches(normalName(host), parsed),
    );
  }

  /** Whether an entry names exactly this host or address: no pattern, and no range. */
  names(host: string, port: number): boolean {
    const name = isIP(bare(host)) === 0 ? normalName(host) : unwrapped(bare(host)).toNormalizedString();
    return this.rules.some(({ only, port: own }) => only === name && (own === undefined || own === port));
  }
}

/** Whether a name is one by which clouds' metadata is asked for. */
export const isMetadataName = (host: string): boolean => METADATA_NAMES.includes(normalName(host));

export const isMetadataAddress = (address: string): boolean =>
  METADATA_ADDRESSES.includes(unwrapped(address).toNormalizedString());

/** Returns the kind of an address in a word or two; null for a public one of another machine. */
export function notPublic(address: string): string | null {
  const parsed = unwrapped(address);
  const range = parsed.range();
  if (range !== 'unicast') return KINDS[range] ?? 'reserved';
  const own = Object.values(networkInterfaces()).flatMap((addresses = []) => addresses);
  const isOwn = own.some(
    (one) => unwrapped(one.address).toNormalizedString() === parsed.toNormalizedString(),
  );
  return isOwn ? "this machine's own" : null;
}

const KINDS: Record<string, string> = {
  loopback: 'loopback',
  private: 'private',
  uniqueLocal: 'private',
  carrierGradeNat: 'private',
  linkLocal: 'link-local',
  multicast: 'multicast',
  broadcast: 'broadcast',
  unspecified: 'unspecified',
};

/** The host of a URL without brackets. */
export const bare = (host: string): string => host.replace(/^\[(.*)\]$/, '$1');

const normalName = (host: string): string => bare(host).toLowerCase().replace(/\.+$/, '');

/** The address that packets go to: IPv6 may enclose one of IPv4. */
function unwrapped(text: string): Address {
  const address = ipaddr.process(text);
  if (address.kind() === 'ipv4' || ['unspecified', 'loopback'].includes(address.range())) return address;
  // 64:ff9b::/96, by which machines without IPv4 reach those that have no other; ::/96, an older way to write them.
  const isTranslated = ['64:ff9b::', '::'].some((prefix) => address.match(ipaddr.parse(prefix), 96));
  return isTranslated ? ipaddr.fromByteArray(address.toByteArray().slice(12)) : address;
}

function ruleOf(entry: string): Rule {
  const { host, port } = parts(entry);
  const rest = port === undefined ? {} : { port };
  if (host === PUBLIC) {
    const matches = (_: string, address: Address | null) =>
      address !== null && notPublic(address.toString()) === null;
    return { ...rest, matches, only: null };
  }
  const [place = '', bits] = host.split('/');
  if (isIP(place) !== 0) {
    const address = unwrapped(place);
    const most = address.kind() === 'ipv4' ? 32 : 128;
    if (bits !== undefined && !(/^\d{1,3}$/.test(bits) && Number(bits) <= most)) throw wrong(entry);
    const length = bits === undefined ? most : Number(bits);
    const only = length === most ? address.toNormalizedString() : null;
    const matches = (_: string, at: Address | null) =>
      at !== null && at.kind() === address.kind() && at.match(address, length);
    return { ...rest, matches, only };
  }
  // "10.*" would be fitted by the name 10.example.com as well.
  if (bits !== undefined || /^[\d.*]*\d[\d.*]*$/.test(host) || !/^[a-z0-9._*-]+$/i.test(host))
    throw wrong(entry);
  const name = normalName(host);
  const fits = glob(name.replaceAll('*', '**'));
  // A pattern of names fits no address, but "*" fits all.
  const matches = (asked: string) => (name === '*' || isIP(asked) === 0) && fits(asked);
  return { ...rest, matches, only: name.includes('*') ? null : name };
}

function parts(entry: string): { host: string; port?: number } {
  if (isIP(entry) === 6 || /^[0-9a-f:.]+\/\d+$/i.test(entry)) return { host: entry };
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(entry) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || Number(port ?? 1) > 65_535) throw wrong(entry);
  return port === undefined ? { host } : { host, port: Number(port) };
}

const wrong = (entry: string) =>
  new Error(
    `${JSON.stringify(entry)} is not a host; write a name such as "*.example.com", an address, a range such as ` +
      `"10.0.0.0/8", or "${PUBLIC}", each with or without ":port"`,
  );
