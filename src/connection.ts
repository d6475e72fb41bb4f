import { loadClientConnectConfig, type ClientConnectConfig } from '@temporalio/envconfig';

/** How to reach a Temporal server. */
export interface Target {
  connection: ClientConnectConfig['connectionOptions'] & { address: string };
  namespace: string;
  /** host:port. */
  address: string;
}

/**
 * The connection by the environment: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS…, or a profile
 * of Temporal's configuration file.
 * @param address used instead of the environment's, for a server that was found or started.
 */
export function target(address?: string): Target {
  const { connectionOptions, namespace } = loadClientConnectConfig();
  const chosen = address ?? connectionOptions.address ?? '127.0.0.1:7233';
  return {
    connection: { ...connectionOptions, address: chosen },
    namespace: namespace ?? 'default',
    address: chosen,
  };
}

/** Whether a server is reached without credentials and TLS. */
export const isPlain = ({ apiKey, tls, metadata }: Target['connection']): boolean =>
  apiKey === undefined && (tls === undefined || tls === false) && Object.keys(metadata ?? {}).length === 0;

/** The address of a run in the Web UI, or null where it is not known. */
export function webUiLink(
  ui: string | null,
  namespace: string,
  workflowId: string,
  runId: string,
): string | null {
  if (ui === null) return null;
  return `${ui}/namespaces/${namespace}/workflows/${encodeURIComponent(workflowId)}/${runId}/history`;
}
