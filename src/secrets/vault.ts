import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { addressIn, askForJson, below, member, textMember, type JsonAnswer } from './http.js';
import {
  SecretProblem,
  variable,
  type ProviderOptions,
  type Secret,
  type SecretFields,
  type SecretProvider,
} from './provider.js';

const WHO = 'Vault';
/** A token is got anew a little before it ends. */
const GOOD_PART = 0.9;

/**
 * HashiCorp Vault and OpenBao, by their HTTP API: key/value engines of both versions, and engines that make credentials
 * for a lease. Found by VAULT_ADDR and VAULT_NAMESPACE; signs in by VAULT_TOKEN, by an AppRole (VAULT_ROLE_ID,
 * VAULT_SECRET_ID), or by the token that an agent or `vault login` keeps in a file.
 */
export class VaultProvider implements SecretProvider {
  /** The token of an AppRole and its expiry, by a monotonic clock. */
  private issued: { token: string; until: number } | null = null;

  constructor(private readonly options: ProviderOptions) {}

  async read(name: string, signal: AbortSignal): Promise<Secret> {
    const { body } = await this.answered(name, signal);
    const data = member(body, 'data');
    if (!isFields(data)) throw new SecretProblem('has no fields in Vault');
    const lease = member(body, 'lease_duration');
    // Without a lease of its own the duration is a hint of weeks, which no rotation keeps to.
    const isLent = textMember(body, 'lease_id') !== '' && typeof lease === 'number' && lease > 0;
    const inner = member(data, 'data');
    const isVersioned = isFields(inner) && isFields(member(data, 'metadata'));
    return { value: isVersioned ? inner : data, leaseSeconds: isLent ? lease : null };
  }

  close(): void {
    this.issued = null;
  }

  private async answered(name: string, signal: AbortSignal): Promise<JsonAnswer> {
    const ask = async () => this.ask(below(this.address(), ['v1', ...name.split('/')]), signal);
    let answer = await ask();
    if (answer.status === 403 && this.issued !== null) {
      // The token may have been revoked before its time.
      this.issued = null;
      answer = await ask();
    }
    const { status, body } = answer;
    if (status === 200) return answer;
    const said = said404(body);
    if (status === 404) throw new SecretProblem(`is not in Vault${said}`);
    if (status === 403)
      throw new SecretProblem(
        "may not be read with this worker's Vault token: the token has expired, or its policy lacks that path",
      );
    throw new SecretProblem(`cannot be read from Vault, which answered ${status}${errorsIn(body)}`);
  }

  private async ask(url: URL, signal: AbortSignal): Promise<JsonAnswer> {
    const headers = { ...this.namespace(), 'x-vault-token': await this.token(signal) };
    return askForJson(this.options.network, WHO, { url, headers }, signal);
  }

  private address(): URL {
    const text = variable(this.options.environment, 'VAULT_ADDR');
    if (text === undefined)
      throw new SecretProblem('cannot be read, because VAULT_ADDR is not set where the worker runs');
    return addressIn('VAULT_ADDR', text);
  }

  private namespace(): Record<string, string> {
    const namespace = variable(this.options.environment, 'VAULT_NAMESPACE');
    // Vault refuses requests without it where an agent stands before it.
    return { 'x-vault-request': 'true', ...(namespace !== undefined && { 'x-vault-namespace': namespace }) };
  }

  /** @throws {SecretProblem} */
  private async token(signal: AbortSignal): Promise<string> {
    const { environment } = this.options;
    const given = variable(environment, 'VAULT_TOKEN');
    if (given !== undefined) return given;
    const role = variable(environment, 'VAULT_ROLE_ID');
    if (role !== undefined) return this.tokenOfRole(role, signal);
    const file =
      variable(environment, 'VAULT_TOKEN_FILE') ??
      join(variable(environment, 'HOME') ?? homedir(), '.vault-token');
    // Read each time: an agent replaces it.
    const kept = await readFile(file, 'utf8').catch(() => '');
    if (kept.trim() !== '') return kept.trim();
    throw new SecretProblem(
      'cannot be read, because the worker has no Vault token: set VAULT_TOKEN, VAULT_TOKEN_FILE, or VAULT_ROLE_ID and ' +
        'VAULT_SECRET_ID where it runs',
    );
  }

  private async tokenOfRole(role: string, signal: AbortSignal): Promise<string> {
    if (this.issued !== null && this.issued.until > performance.now()) return this.issued.token;
    const { environment, network } = this.options;
    const secret = variable(environment, 'VAULT_SECRET_ID');
    const mount = variable(environment, 'VAULT_APPROLE_MOUNT') ?? 'approle';
    const { status, body } = await askForJson(
      network,
      WHO,
      {
        method: 'POST',
        url: below(this.address(), ['v1', 'auth', ...mount.split('/'), 'login']),
        headers: this.namespace(),
        body: { role_id: role, ...(secret !== undefined && { secret_id: secret }) },
      },
      signal,
    );
    const auth = member(body, 'auth');
    const token = textMember(auth, 'client_token');
    if (status !== 200 || token === '')
      throw new SecretProblem(
        `cannot be read, because Vault rejects this worker's VAULT_ROLE_ID and VAULT_SECRET_ID (${status})`,
      );
    const seconds = Number(member(auth, 'lease_duration') ?? 0);
    const until = seconds > 0 ? performance.now() + seconds * 1000 * GOOD_PART : Infinity;
    this.issued = { token, until };
    return token;
  }
}

const isFields = (value: unknown): value is SecretFields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Why a path is not there, as far as Vault says. */
function said404(body: unknown): string {
  const warnings = member(body, 'warnings');
  if (Array.isArray(warnings) && warnings.some((one) => /versioned K\/V/i.test(String(one))))
    return ' under that path: in version 2 of the key/value engine, "data" follows the mount, as in secret/data/NAME';
  // A deleted version keeps its metadata.
  if (member(member(body, 'data'), 'metadata') !== undefined)
    return ' any more: its latest version was deleted';
  return errorsIn(body);
}

function errorsIn(body: unknown): string {
  const errors = member(body, 'errors');
  const words = Array.isArray(errors) ? errors.map(String).join('; ').trim() : '';
  return words === '' ? '' : `: ${words}`;
}
