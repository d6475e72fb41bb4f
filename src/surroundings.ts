import { SecretStore } from './secrets/store.js';
import { Network } from './sources/network.js';
import { TrustPolicy } from './trust/policy.js';

/** What a worker or a command lends to the syncs that it runs. */
export interface Surroundings {
  environment: NodeJS.ProcessEnv;
  /** Decides what of it configurations may use. */
  trust: TrustPolicy;
  network: Network;
  /** Reads secrets of providers. */
  secrets: SecretStore;
}

/** The surroundings of a command that reads a file of the one who runs it. */
export function ownSurroundings(environment: NodeJS.ProcessEnv): Surroundings {
  const trust = TrustPolicy.local(environment);
  return { environment, trust, network: new Network(trust), secrets: new SecretStore(environment) };
}
