import type { TokenCredential } from '@azure/identity';
import { messageOf, SecretUnavailableError } from '../errors.js';
import {
  addressIn,
  askForJson,
  below,
  isUnreachable,
  member,
  refusalBy,
  textMember,
  unreachable,
} from './http.js';
import {
  loadLibrary,
  SecretProblem,
  variable,
  type ProviderOptions,
  type Secret,
  type SecretProvider,
} from './provider.js';

const WHO = 'Azure Key Vault';
const API_VERSION = '7.4';
/** The address of a vault; a variable selects a cloud other than the public one. */
const ADDRESS = 'https://{vault}.vault.azure.net';
const ADDRESS_VARIABLE = 'HIGHWATER_AZURE_KEY_VAULT_URL';

/**
 * Azure Key Vault, by its REST API. Azure's library finds the credentials: AZURE_TENANT_ID, AZURE_CLIENT_ID and a secret or
 * certificate, a workload's or the machine's identity.
 */
export class AzureProvider implements SecretProvider {
  private credential: TokenCredential | null = null;

  constructor(private readonly options: ProviderOptions) {}

  async read(name: string, signal: AbortSignal): Promise<Secret> {
    const { environment, network } = this.options;
    const [path = '', version] = name.split('@');
    const [vault = '', secret = ''] = path.split('/');
    const template = variable(environment, ADDRESS_VARIABLE) ?? ADDRESS;
    const base = addressIn(ADDRESS_VARIABLE, template.replace('{vault}', vault));
    const credential = (this.credential ??= await this.authentication());
    // The audience is the service as a whole, and no single vault.
    const { origin } = new URL(template.replace('{vault}.', '').replace('{vault}', ''));
    const token = await credential
      .getToken(`${origin}/.default`, { abortSignal: signal })
      .catch((thrown: unknown) => {
        throw explained(thrown, signal);
      });
    if (token === null) throw noCredentials('it returned none');
    const url = below(base, ['secrets', secret, ...(version === undefined ? [] : [version])]);
    url.searchParams.set('api-version', API_VERSION);
    const headers = { authorization: `Bearer ${token.token}` };
    const { status, body } = await askForJson(network, WHO, { url, headers }, signal);
    const value = textMember(body, 'value');
    if (status === 200) return { value, leaseSeconds: null };
    const error = member(body, 'error');
    if (status === 404) throw new SecretProblem(`is not in ${WHO}`);
    const said = [textMember(error, 'code'), textMember(error, 'message')].filter(Boolean).join(': ');
    throw refusalBy(WHO, status, said);
  }

  close(): void {
    this.credential = null;
  }

  private async authentication(): Promise<TokenCredential> {
    const library = await loadLibrary('@azure/identity', () => import('@azure/identity'));
    const authorityHost = variable(this.options.environment, 'AZURE_AUTHORITY_HOST');
    // The public cloud does not know the authorities of others.
    return new library.DefaultAzureCredential(
      authorityHost === undefined ? {} : { authorityHost, disableInstanceDiscovery: true },
    );
  }
}

const noCredentials = (why: string) =>
  new SecretProblem(`cannot be read from ${WHO}, because the worker has no Azure credentials: ${why}`);

/** Error codes of the library below Azure's; they stand at the beginning of a description. */
const NETWORK_ERROR = /^(network_error|endpoints_resolution_error)\b/;

function explained(thrown: unknown, signal: AbortSignal): Error {
  const who = "Azure's credential server";
  const {
    name,
    errorResponse,
    statusCode = 0,
  } = thrown as {
    name?: string;
    errorResponse?: { errorDescription?: string };
    statusCode?: number;
  };
  if (isUnreachable(thrown, signal)) return unreachable(who, thrown, signal);
  // Several kinds of credentials were looked for in vain, each with reasons of its own.
  if (name !== 'AuthenticationError') return noCredentials(messageOf(thrown));
  if (NETWORK_ERROR.test(errorResponse?.errorDescription ?? ''))
    return new SecretUnavailableError(`${who} is unreachable`);
  if (statusCode >= 500 || statusCode === 429)
    return new SecretUnavailableError(`${who} answered ${statusCode}`);
  return noCredentials(messageOf(thrown));
}
