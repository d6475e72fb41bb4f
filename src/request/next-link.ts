/** Decides the host for a next page that an answer names: the configured origin, or a listed host. */

/** `host` or `host:port`, without a scheme or a path. */
const HOST = /^(\[[0-9a-f:.]+\]|[^\s:/?#@\\*[\]]+)(?::(\d{1,5}))?$/i;
const DEFAULT_PORTS: { [protocol: string]: string } = { 'http:': '80', 'https:': '443' };
const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

/** The host as addresses have it: in lower case, in ASCII, without the dot at the end; null for anything else. */
export function normalHost(text: string): string | null {
  const [, name, port] = HOST.exec(text.trim()) ?? [];
  if (name === undefined || !URL.canParse(`http://${name}`) || Number(port ?? 1) > 65_535) return null;
  const host = bare(new URL(`http://${name}`).hostname);
  return host === '' ? null : port === undefined ? host : `${host}:${Number(port)}`;
}

const bare = (hostname: string) => hostname.replace(/\.$/, '');

const portOf = ({ port, protocol }: URL) => (port === '' ? (DEFAULT_PORTS[protocol] ?? '') : port);

export interface NextPlace {
  /** The address of the page that named the link: a relative link is relative to it. */
  current: URL;
  /** The configured address. */
  base: URL;
  /** Other hosts that the owner of the configuration has listed, as {@link normalHost} writes them. */
  hosts: readonly string[];
}

/**
 * The address to ask for, without user and password; null where it lies on a host that is neither configured nor listed.
 *
 * An API behind a proxy often knows neither the scheme nor the port by which it was asked, and writes its links with
 * others. So a link to the configured host with another scheme, or without a port, is asked for at the configured
 * scheme, host and port. A listed host is asked by https wherever the configured one is.
 */
export function nextAddress(link: string, { current, base, hosts }: NextPlace): URL | null {
  if (!URL.canParse(link, current.href)) return null;
  const url = new URL(link, current);
  if (!/^https?:$/.test(url.protocol)) return null;
  url.username = '';
  url.password = '';
  url.hash = '';
  if (url.origin === base.origin) return url;
  if (isListed(url, hosts)) {
    if (base.protocol === 'https:') url.protocol = 'https:';
    return url;
  }
  if (!isConfigured(url, base)) return null;
  const moved = new URL(base.origin);
  moved.pathname = url.pathname;
  moved.search = url.search;
  return moved;
}

function isConfigured(url: URL, base: URL): boolean {
  const [named, configured] = [bare(url.hostname), bare(base.hostname)];
  const isSameHost = named === configured || (LOOPBACK.test(named) && LOOPBACK.test(configured));
  return isSameHost && (url.port === '' || portOf(url) === portOf(base));
}

function isListed(url: URL, hosts: readonly string[]): boolean {
  const host = bare(url.hostname);
  return hosts.includes(`${host}:${portOf(url)}`) || (url.port === '' && hosts.includes(host));
}
