import { REFERENCE } from './reference-syntax.js';
import { messageOf, NotAllowedError, SecretUnavailableError } from '../errors.js';
import { Network } from '../trust/network.js';
import { SECRET_NAME } from './credential-names.js';
import { Secrets } from './masking.js';
import { TrustPolicy } from '../trust/policy.js';
import { AwsProvider } from './aws.js';
import { AzureProvider } from './azure.js';
import { GcpProvider } from './gcp.js';
import { isProviderKind, placeOf, secretName, type ProviderKind, type SecretName } from './names.js';
import { OnePasswordProvider } from './one-password.js';
import { ReadSecrets, type Found, type Held } from './read-secrets.js';
import { SecretProblem, type ProviderOptions, type Secret, type SecretProvider } from './provider.js';
import { VaultProvider } from './vault.js';

const PROVIDERS: Record<ProviderKind, (options: ProviderOptions) => SecretProvider> = {
  vault: (options) => new VaultProvider(options),
  'aws-sm': () => new AwsProvider(),
  'gcp-sm': (options) => new GcpProvider(options),
  'azure-kv': (options) => new AzureProvider(options),
  op: (options) => new OnePasswordProvider(options),
};

/** Time for which a secret is kept if its provider gives no lease. */
const LEASE_SECONDS = 5 * 60;
/** Part of a lease after which its secret is read again. */
const GOOD_PART = 0.9;
const ANSWER_MILLISECONDS = 20_000;
/** Shorter values of variables are switches or numbers. */
const CREDENTIAL_LENGTH = 8;
/** Maximum length of a provider's message. */
const MESSAGE_LIMIT = 1000;

/**
 * Caches secrets of providers while they are valid. Resolving references is synchronous and providers are on the
 * network, so secrets are read here beforehand.
 */
export class SecretStore {
  private readonly held = new Map<string, Held>();
  /** Replaced secrets, which a source may still quote. */
  private readonly former = new Map<string, Held>();
  private readonly reading = new Map<string, Promise<Held>>();
  private readonly providers = new Map<ProviderKind, SecretProvider>();
  private readonly network: Network;
  /** Masks credentials of providers in their own messages. */
  private readonly own: Secrets;

  constructor(
    private readonly environment: NodeJS.ProcessEnv,
    private readonly leaseSeconds = LEASE_SECONDS,
  ) {
    // The addresses of providers come from the owner.
    this.network = new Network(TrustPolicy.local(environment));
    this.own = new Secrets(
      Object.entries(environment).flatMap(([name, value = '']) =>
        SECRET_NAME.test(name) && value.length >= CREDENTIAL_LENGTH ? [value.trim()] : [],
      ),
    );
  }

  /**
   * Reads the secrets that the texts in a value refer to. Secrets that may not be used are left out: resolving refuses
   * them.
   * @throws {SecretUnavailableError} if a provider does not answer.
   */
  async read(value: unknown, trust: TrustPolicy): Promise<ReadSecrets> {
    const names = namesIn(value);
    if (names.size === 0) return ReadSecrets.none;
    const found = await Promise.all(
      [...names].map(async ([reference, name]): Promise<[string, Found][]> => {
        if (!mayBeUsed(name, trust)) return [];
        return [[reference, await this.findSecret(name)]];
      }),
    );
    return new ReadSecrets(new Map(found.flat()));
  }

  /** Forgets refused secrets, unless they have been replaced since. */
  forget(refused: ReadSecrets): void {
    for (const [place, held] of this.held) {
      if (!refused.has(held)) continue;
      this.held.delete(place);
      this.former.set(place, held);
    }
  }

  close(): void {
    for (const provider of this.providers.values()) provider.close();
    this.providers.clear();
    this.held.clear();
    this.former.clear();
    this.network.close();
  }

  private async findSecret(name: SecretName): Promise<Found> {
    const place = placeOf(name);
    try {
      const held = await this.current(name, place);
      const value = textOf(held.secret, name.field);
      return { value, held, former: this.formerText(place, name.field, value) };
    } catch (thrown) {
      if (thrown instanceof SecretProblem) return { problem: this.shown(thrown) };
      if (thrown instanceof SecretUnavailableError)
        throw new SecretUnavailableError(`the secret ${place} cannot be read now: ${this.shown(thrown)}`);
      throw thrown;
    }
  }

  /** Reads a secret once for all concurrent callers. */
  private async current({ kind, name }: SecretName, place: string): Promise<Held> {
    const held = this.held.get(place);
    if (held !== undefined && held.until > performance.now()) return held;
    const pending = this.reading.get(place);
    if (pending !== undefined) return pending;
    // Without the caller's signal, since others may be waiting for it.
    const reading = this.provider(kind)
      .read(name, AbortSignal.timeout(ANSWER_MILLISECONDS))
      .then((secret) => this.keepSecret(place, secret))
      .finally(() => this.reading.delete(place));
    this.reading.set(place, reading);
    return reading;
  }

  private keepSecret(place: string, secret: Secret): Held {
    const seconds = secret.leaseSeconds === null ? this.leaseSeconds : secret.leaseSeconds * GOOD_PART;
    const before = this.held.get(place);
    if (before !== undefined) this.former.set(place, before);
    const held = { secret, until: performance.now() + seconds * 1000 };
    this.held.set(place, held);
    return held;
  }

  private formerText(place: string, field: string | null, now: string): string | null {
    const former = this.former.get(place);
    if (former === undefined) return null;
    try {
      const text = textOf(former.secret, field);
      return text === now ? null : text;
    } catch (thrown) {
      if (thrown instanceof SecretProblem) return null;
      throw thrown;
    }
  }

  private provider(kind: ProviderKind): SecretProvider {
    const { environment, network } = this;
    const provider = this.providers.get(kind) ?? PROVIDERS[kind]({ environment, network });
    this.providers.set(kind, provider);
    return provider;
  }

  private shown(thrown: Error): string {
    return this.own.mask(messageOf(thrown)).slice(0, MESSAGE_LIMIT);
  }
}

/** Reads the secrets that a value refers to, for a command that uses them once. */
export async function readSecrets(value: unknown, environment: NodeJS.ProcessEnv): Promise<ReadSecrets> {
  const store = new SecretStore(environment);
  try {
    return await store.read(value, TrustPolicy.local(environment));
  } finally {
    store.close();
  }
}

/** Finds the references to secrets of providers in all texts of a value. */
function namesIn(value: unknown, found = new Map<string, SecretName>()): Map<string, SecretName> {
  if (typeof value === 'string') {
    for (const [, kind = '', text = ''] of value.matchAll(REFERENCE))
      if (isProviderKind(kind)) found.set(`${kind}:${text}`, secretName(kind, text));
  } else if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) namesIn(inner, found);
  }
  return found;
}

function mayBeUsed(name: SecretName, trust: TrustPolicy): boolean {
  try {
    trust.requireSecret(placeOf(name));
    return true;
  } catch (thrown) {
    if (thrown instanceof NotAllowedError) return false;
    throw thrown;
  }
}

/** Returns the referenced part of a secret, without a trailing newline. @throws {SecretProblem} */
function textOf({ value }: Secret, field: string | null): string {
  const text = (field === null ? wholeText(value) : fieldText(value, field)).trim();
  if (text === '') throw new SecretProblem('is empty');
  return text;
}

function wholeText(value: Secret['value']): string {
  if (typeof value === 'string') return value;
  throw new SecretProblem('has several fields: name one after "#"');
}

function fieldText(value: Secret['value'], field: string): string {
  const fields: unknown = typeof value === 'string' ? parsed(value) : value;
  if (typeof fields !== 'object' || fields === null || !Object.hasOwn(fields, field))
    throw new SecretProblem(`has no field ${JSON.stringify(field)}`);
  const found = (fields as Record<string, unknown>)[field];
  if (typeof found === 'string') return found;
  if (typeof found === 'number' || typeof found === 'boolean') return String(found);
  throw new SecretProblem(`has a field ${JSON.stringify(field)} that is not a text`);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The parser's message would contain a piece of the secret.
    throw new SecretProblem('is not JSON, so it has no fields: remove "#" and what follows');
  }
}
