import type { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { messageOf, SecretUnavailableError } from '../errors.js';
import { isUnreachable, unreachable } from './http.js';
import { loadLibrary, SecretProblem, type Secret, type SecretProvider } from './provider.js';

const WHO = 'AWS Secrets Manager';
const PACKAGE = '@aws-sdk/client-secrets-manager';

const sdk = () => loadLibrary(PACKAGE, () => import('@aws-sdk/client-secrets-manager'));

/** AWS Secrets Manager. The AWS SDK finds region and credentials: environment, profiles, the machine's role. */
export class AwsProvider implements SecretProvider {
  private client: SecretsManagerClient | null = null;

  async read(name: string, signal: AbortSignal): Promise<Secret> {
    const { SecretsManagerClient, GetSecretValueCommand } = await sdk();
    try {
      this.client ??= new SecretsManagerClient({});
      const command = new GetSecretValueCommand({ SecretId: name });
      const { SecretString, SecretBinary } = await this.client.send(command, { abortSignal: signal });
      const value = SecretString ?? Buffer.from(SecretBinary ?? []).toString('utf8');
      return { value, leaseSeconds: null };
    } catch (thrown) {
      throw explained(thrown, signal);
    }
  }

  close(): void {
    this.client?.destroy();
    this.client = null;
  }
}

function explained(thrown: unknown, signal: AbortSignal): Error {
  const { name = '', $metadata } = thrown as { name?: string; $metadata?: { httpStatusCode?: number } };
  const status = $metadata?.httpStatusCode;
  if (name === 'ResourceNotFoundException') return new SecretProblem(`is not in ${WHO}`);
  if (name === 'CredentialsProviderError' || /^Region is missing/.test(messageOf(thrown)))
    return new SecretProblem(
      `cannot be read from ${WHO}, because the worker has no AWS credentials or region: ${messageOf(thrown)}`,
    );
  if (isUnreachable(thrown, signal)) return unreachable(WHO, thrown, signal);
  if ((status ?? 0) >= 500 || status === 429 || /Throttl|TooManyRequests/.test(name))
    return new SecretUnavailableError(`${WHO} answered ${status} (${name})`);
  return new SecretProblem(`may not be read from ${WHO} by this worker: ${name}: ${messageOf(thrown)}`);
}
