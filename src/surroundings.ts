import { hookLimits, Hooks } from './hooks/hooks.js';
import { SecretStore } from './secrets/store.js';
import { Budgets } from './sources/budget.js';
import { Network } from './trust/network.js';
import { type LoadedExtensions, NO_EXTENSIONS } from './extensions.js';
import { TrustPolicy } from './trust/policy.js';

/** The parts of a worker, or of a command, that the syncs which it runs share. */
export interface Surroundings {
  environment: NodeJS.ProcessEnv;
  /** Decides which parts of the environment configurations may use. */
  trust: TrustPolicy;
  network: Network;
  /** Reads secrets of providers. */
  secrets: SecretStore;
  /** Strategies and destinations of extensions. */
  extensions: LoadedExtensions;
  /** Shared by all streams: a source counts requests by account, not by stream. */
  budgets: Budgets;
  /** Runs the hooks that make rows of records. */
  hooks: Hooks;
}

/** Returns the surroundings of a command that reads a configuration file of its user. */
export function ownSurroundings(
  environment: NodeJS.ProcessEnv,
  extensions: LoadedExtensions = NO_EXTENSIONS,
): Surroundings {
  const trust = TrustPolicy.local(environment);
  return {
    environment,
    trust,
    network: new Network(trust),
    secrets: new SecretStore(environment),
    budgets: new Budgets(),
    extensions,
    hooks: new Hooks(trust, hookLimits(environment)),
  };
}
