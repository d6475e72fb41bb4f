/** Checks of configurations whose destination is one of an extension. */
import type { Problem } from '../errors.js';
import type { LoadedExtensions } from '../extensions.js';
import { addressProblem, checkedAddress, destinationMissing, unfitFor } from '../destinations/custom.js';
import type { StreamPlan } from '../protocol.js';
import { holdsReference } from '../secrets/reference-syntax.js';
import { customAddress, holdsSecret } from './custom-address.js';
import { customScheme } from './destination-kind.js';

/** Says what is wrong with the address of a destination that is not built in. The message does not repeat it: it may hold a password. */
export function destinationProblems(raw: unknown, { destinations }: LoadedExtensions): Problem[] {
  const { destination } = Object(raw) as { destination?: unknown };
  const scheme = typeof destination === 'string' ? customScheme(destination) : null;
  if (typeof destination !== 'string' || scheme === null) return [];
  const path = 'destination';
  const definition = destinations.get(scheme);
  if (definition === undefined) return [{ path, message: destinationMissing(scheme, destinations) }];
  const parts = customAddress(destination);
  // The worker checks it once the references are resolved; a password is a problem of its own.
  if (holdsReference(destination) || holdsSecret(parts)) return [];
  const message = addressProblem(checkedAddress(definition, parts));
  return message === null ? [] : [{ path, message }];
}

/** Says what the destination of a configuration does not support. */
export function unfitProblems(
  raw: unknown,
  plans: readonly StreamPlan[],
  { destinations }: LoadedExtensions,
): Problem[] {
  const isFlat = !Array.isArray((raw as { streams?: unknown }).streams);
  return plans.flatMap((plan, i) => {
    const scheme = plan.destination === null ? null : customScheme(plan.destination);
    const definition = scheme === null ? undefined : destinations.get(scheme);
    if (definition === undefined) return [];
    return unfitFor(definition, plan).map(({ key, message }) => ({
      path: isFlat ? key : `streams[${i}].${key}`,
      message,
    }));
  });
}
