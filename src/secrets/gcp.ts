import type { GoogleAuth } from 'google-auth-library';
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

const WHO = 'Google Secret Manager';
const SCOPE = 'https://www.googleapis.com/auth/cloud-platform';
const ADDRESS = 'https://secretmanager.googleapis.com/';
/** The variable by which Google's own tools are led to another endpoint, such as a region's. */
const ADDRESS_VARIABLE = 'CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER';

/**
 * Google Secret Manager, by its REST API. Google's library finds the credentials: GOOGLE_APPLICATION_CREDENTIALS, a
 * workload's identity, the machine's service account.
 */
export class GcpProvider implements SecretProvider {
  private auth: GoogleAuth | null = null;

  constructor(private readonly options: ProviderOptions) {}

  async read(name: string, signal: AbortSignal): Promise<Secret> {
    const { environment, network } = this.options;
    const override = variable(environment, ADDRESS_VARIABLE);
    const base = override === undefined ? new URL(ADDRESS) : addressIn(ADDRESS_VARIABLE, override);
    const auth = (this.auth ??= await authentication());
    const { project, secret, version } = partsOf(name);
    let headers: Record<string, string>;
    let owner: string;
    try {
      owner = project ?? variable(environment, 'GOOGLE_CLOUD_PROJECT') ?? (await auth.getProjectId());
      headers = Object.fromEntries(await auth.getRequestHeaders(ADDRESS));
    } catch (thrown) {
      throw explained(thrown, signal);
    }
    const url = below(base, ['v1', 'projects', owner, 'secrets', secret, 'versions', version]);
    // The method of a resource follows a colon, which is part of the path.
    url.pathname += ':access';
    const { status, body } = await askForJson(network, WHO, { url, headers }, signal);
    const payload = member(body, 'payload');
    if (status === 200 && payload !== undefined)
      return {
        value: Buffer.from(textMember(payload, 'data'), 'base64').toString('utf8'),
        leaseSeconds: null,
      };
    const said = textMember(member(body, 'error'), 'message');
    if (status === 404) throw new SecretProblem(`is not in ${WHO}`);
    throw refusalBy(WHO, status, said);
  }

  close(): void {
    this.auth = null;
  }
}

async function authentication(): Promise<GoogleAuth> {
  const library = await loadLibrary('google-auth-library', () => import('google-auth-library'));
  const auth = new library.GoogleAuth({ scopes: [SCOPE] });
  // A service account's key signs its tokens itself, as Google's own clients have it: no server is asked for one.
  auth.useJWTAccessWithScope = true;
  return auth;
}

function partsOf(text: string): { project: string | null; secret: string; version: string } {
  const [path = '', version = 'latest'] = text.split('@');
  const [, project = null, secret = path] = /^projects\/([^/]+)\/secrets\/(.+)$/.exec(path) ?? [];
  return { project, secret, version };
}

function explained(thrown: unknown, signal: AbortSignal): Error {
  const who = "Google's credential server";
  const { status = 0 } = thrown as { status?: number };
  if (isUnreachable(thrown, signal)) return unreachable(who, thrown, signal);
  if (status >= 500 || status === 429) return new SecretUnavailableError(`${who} answered ${status}`);
  return new SecretProblem(
    `cannot be read from ${WHO}, because the worker has no Google credentials: ${messageOf(thrown)}`,
  );
}
