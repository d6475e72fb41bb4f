/** References that an import makes itself, told apart from text of the description. Pure but for one random mark. */
import { randomUUID } from 'node:crypto';
import type { Json } from '../../protocol.js';
import { type Secrets, variableOf } from '../credentials.js';
import { holdsCredential } from '../holds-credential.js';
import { type Imported, ImportError, type ImportedStream } from './imported.js';

/** No description can hold it: what follows it is a reference that the import has made. */
const MARK = randomUUID();
const MARKED = new RegExp(`<${MARK}:(\\w+)>`, 'g');

/** A reference to a variable of the import's own; {@link sealed} gives the variable its prefix. */
export const ownReference = (variable: string): string => `<${MARK}:${variable}>`;
export const holdsOwnReference = (text: string): boolean => text.includes(`<${MARK}:`);
export const withoutOwnReferences = (text: string): string => text.replace(MARKED, '');

/** Gives each secret of a description a variable of its own. */
export class Variables {
  readonly secrets: Secrets = {};
  private readonly taken = new Map<string, string>();

  /** A reference to a variable for a secret that the description shows. */
  keep = (value: string, variable: string): string => {
    const name = this.variable(`${variable}=${value}`, variable);
    this.secrets[name] = value;
    return ownReference(name);
  };

  /** A reference to a variable for a setting whose value the description does not show. */
  named(setting: string, variable = variableOf(setting)): string {
    return ownReference(this.variable(setting, variable));
  }

  private variable(identity: string, wanted: string): string {
    let name = this.taken.get(identity);
    if (name !== undefined) return name;
    const others = new Set(this.taken.values());
    name = wanted;
    for (let i = 2; others.has(name); i++) name = `${wanted}_${i}`;
    this.taken.set(identity, name);
    return name;
  }

  /** Goes on with the variables of a finished import. */
  static of(imported: Imported): Variables {
    const variables = new Variables();
    for (const [, name = ''] of JSON.stringify(imported).matchAll(MARKED)) {
      const value = imported.secrets[name];
      if (value === undefined) variables.taken.set(name, name);
      else variables.taken.set(`${name.replace(/_\d+$/, '')}=${value}`, name);
    }
    Object.assign(variables.secrets, imported.secrets);
    return variables;
  }
}

/** A reference to a secret or to another value of the reader's machine, which only its owner may write. */
const FOREIGN = /\$\{/;

/**
 * Finishes an import. References that stand in the description are left out, so that it can name no file or variable of
 * this machine; secrets in the open become references; variables get a prefix that names the API's host.
 * @throws {ImportError} where the address or the authentication holds a reference.
 */
export function sealed(imported: Imported, address?: string): Imported {
  const leftOut = [...imported.leftOut];
  const variables = Variables.of(imported);
  const { baseUrl, auth } = withoutUser(address ?? imported.baseUrl, imported.auth, variables, leftOut);
  for (const [what, value] of [['address', baseUrl] as const, ['authentication', auth] as const]) {
    if (FOREIGN.test(typeof value === 'string' ? value : JSON.stringify(value)))
      throw new ImportError(
        `its ${what} holds "\${…}": a description must not refer to files or variables of this machine`,
      );
  }
  const cleaner = new Cleaner(variables, leftOut);
  const headers = cleaner.members(imported.headers, 'the headers') as Imported['headers'];
  const streams = imported.streams.flatMap((stream) => cleaner.stream(stream) ?? []);
  if (streams.length === 0)
    throw new ImportError(`no stream can be taken over:\n${leftOut.map((line) => `  ${line}`).join('\n')}`);
  const literal = [...cleaner.literal];
  const assumed = [...imported.assumed];
  if (literal.length > 0)
    assumed.push(`not taken for secrets, so written as they are: the values of ${literal.join(', ')}`);
  const needsBaseUrl = imported.needsBaseUrl && address === undefined;
  const parts = { ...imported, baseUrl, needsBaseUrl, auth, headers, streams, assumed, leftOut, secrets: {} };
  const prefix = prefixOf(baseUrl);
  const text = JSON.stringify(parts);
  const used = new Set([...text.matchAll(MARKED)].map(([, name = '']) => name));
  const secrets = Object.entries(variables.secrets).filter(([name]) => used.has(name));
  return {
    ...(JSON.parse(text.replace(MARKED, (_, name: string) => `\${env:${prefix}${name}}`)) as Imported),
    secrets: Object.fromEntries(secrets.map(([name, value]) => [`${prefix}${name}`, value])),
  };
}

/** `https://api.shop.com` → SHOP_COM_: no variable that is there for something else begins so. */
function prefixOf(baseUrl: string): string {
  const [host = ''] = withoutOwnReferences(baseUrl)
    .replace(/^\w+:\/\//, '')
    .split(/[/?#:]/);
  const labels = host.split('.').filter((label) => label !== '');
  while (labels.length > 1 && /^(api|www)$/i.test(labels[0] ?? '')) labels.shift();
  const name = labels
    .join('_')
    .replace(/[^A-Za-z0-9]+/g, '_')
    .toUpperCase();
  return name === ''
    ? 'IMPORTED_API_'
    : labels.length === 1 || /^\d/.test(name)
      ? `HOST_${name}_`
      : `${name}_`;
}

function withoutUser(
  address: string,
  auth: Imported['auth'],
  variables: Variables,
  leftOut: string[],
): Pick<Imported, 'baseUrl' | 'auth'> {
  const [, scheme = '', user = '', rest = ''] = /^(https?:\/\/)([^/?#]*)@(.*)$/is.exec(address) ?? [];
  if (user === '' || holdsOwnReference(user)) return { baseUrl: address, auth };
  if (auth !== null) {
    leftOut.push('the user in the address: the authentication is used instead');
    return { baseUrl: scheme + rest, auth };
  }
  const [name = '', ...password] = user.split(':').map(decoded);
  return {
    baseUrl: scheme + rest,
    auth: {
      type: 'basic',
      username: variables.keep(name, 'API_USER'),
      password: variables.keep(password.join(':'), 'API_PASSWORD'),
    },
  };
}

export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

class Cleaner {
  /** Names whose values stand in the file as they are. */
  readonly literal = new Set<string>();

  constructor(
    private readonly variables: Variables,
    private readonly leftOut: string[],
  ) {}

  /** A stream without foreign references and open secrets; null where it cannot be taken over. */
  stream(given: ImportedStream): ImportedStream | null {
    const { headers, params, body, ...others } = given.keys;
    const path = String(others['path'] ?? '');
    if (FOREIGN.test(JSON.stringify([given.name, others]))) {
      this.leftOut.push(
        `${given.name}: it holds "\${…}": a description must not refer to files or variables of this machine`,
      );
      return null;
    }
    if (/^\w+:/.test(path)) {
      this.leftOut.push(`${given.name}: its path is another address`);
      return null;
    }
    const keys = { ...others };
    for (const [key, value] of Object.entries({ params, headers, body })) {
      if (value === undefined || value === null) continue;
      const cleaned = this.value(value, key, given.name);
      const isEmpty = key !== 'body' && Object.keys(cleaned ?? {}).length === 0;
      if (cleaned !== undefined && !isEmpty) keys[key] = cleaned;
    }
    return { ...given, keys };
  }

  members(given: { [name: string]: Json }, where: string): { [name: string]: Json } {
    return Object.fromEntries(
      Object.entries(given).flatMap(([name, value]) => {
        const cleaned = FOREIGN.test(name) ? this.refused(name, where) : this.value(value, name, where);
        return cleaned === undefined ? [] : [[name, cleaned] as const];
      }),
    );
  }

  private value(value: Json, name: string, where: string): Json | undefined {
    if (Array.isArray(value)) return value.flatMap((one) => this.value(one, name, where) ?? []);
    if (typeof value === 'object' && value !== null) return this.members(value, where);
    const text = String(value ?? '');
    if (FOREIGN.test(text)) return this.refused(name, where);
    if (typeof value === 'boolean' || text === '' || holdsOwnReference(text)) return value;
    if (holdsCredential(name, text)) return this.variables.keep(text, variableOf(name));
    this.literal.add(name);
    return value;
  }

  private refused(name: string, where: string): undefined {
    this.leftOut.push(
      `${where}: the value of ${name} holds "\${…}": a description must not refer to files or variables of this machine`,
    );
  }
}
